// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/checkpoint/reader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <stdexcept>

#include "hydrofoil/checkpoint/folder.h"
#include "tests/checkpoint/support.h"

namespace hydrofoil::checkpoint::reader_test {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr int64_t kSmall = 1009;
constexpr const char* kWeights = "model.safetensors";

class ReaderTest : public ::testing::Test {
 protected:
  void SetUp() override {
    for (const int64_t step : {1, 2}) Model(step, kSmall).save_on(1, {root_.path()});
  }
  std::string open_error(const fs::path& path) {
    return error_line([&] { Reader reader(path); });
  }
  fs::path newest(const std::string& name) const { return root_ / "step-00000002" / name; }
  Scratch root_;
};

TEST_F(ReaderTest, OpensARunACheckpointAndAPathWithATrailingSlash) {
  EXPECT_EQ(Reader(root_.path()).step(), 2);
  EXPECT_EQ(Reader(root_ / "step-00000001").step(), 1);
  EXPECT_EQ(Reader(root_ / "step-00000001/").step(), 1);
  EXPECT_EQ(latest_complete(root_.path()), root_ / "step-00000002");
}

TEST_F(ReaderTest, FallsBackToTheNewestCompleteOne) {
  for (const char* latest : {"", "step-00000099\n", "../../etc\n", "\x01\x02", "step-00000002x"}) {
    put(root_ / "latest", latest);
    EXPECT_EQ(Reader(root_.path()).step(), 2) << latest;
  }
  fs::remove(root_ / "latest");
  EXPECT_EQ(Reader(root_.path()).step(), 2);
  fs::create_directories(root_ / "step-00000007");
  EXPECT_EQ(Reader(root_.path()).step(), 2);
  fs::resize_file(newest("optimizer.safetensors"), 1000);
  EXPECT_EQ(Reader(root_.path()).step(), 1);
  EXPECT_THAT(open_error(root_ / "step-00000002"),
              HasSubstr("optimizer.safetensors: has 1000 bytes, expected"));
  put(root_ / "latest", "step-00000002\n");
  EXPECT_EQ(Reader(root_.path()).step(), 1);
}

TEST_F(ReaderTest, RefusesWhatIsNotComplete) {
  fs::remove(newest("manifest.json"));
  EXPECT_THAT(open_error(root_ / "step-00000002"),
              AllOf(HasSubstr("is not a complete checkpoint: it has no manifest.json"),
                    HasSubstr("give the folder above it")));
  EXPECT_THAT(open_error(root_ / "step-00000003"), HasSubstr("step-00000003: is no folder"));
  const Scratch empty;
  EXPECT_THAT(open_error(empty.path()), HasSubstr("holds no complete checkpoint"));
  EXPECT_THAT(open_error(empty / "none"), HasSubstr("none: is no folder"));
  EXPECT_EQ(latest_complete(empty / "none"), std::nullopt);
}

TEST_F(ReaderTest, DoesNotLoadAnOlderOneWhenTheLastIsFromTheFuture) {
  std::string text = get(newest("manifest.json"));
  const std::string format = "\"format\": 1";
  text.replace(text.find(format), format.size(), "\"format\": 7");
  put(newest("manifest.json"), text);
  EXPECT_THAT(open_error(root_.path()), HasSubstr("made by a newer Hydrofoil (format 7"));
}

TEST_F(ReaderTest, ADamagedHeaderIsSeenWhenOpening) {
  std::string bytes = get(newest(kWeights));
  bytes[20] = static_cast<char>(bytes[20] ^ 4);
  put(newest(kWeights), bytes);
  EXPECT_THAT(open_error(root_ / "step-00000002"), HasSubstr("safetensors: its header is damaged"));
}

TEST_F(ReaderTest, NamesTheTensorThatIsMissingOrHasAnotherShape) {
  const Reader reader(root_.path());
  EXPECT_TRUE(reader.has(kWeights, "wte.weight"));
  EXPECT_FALSE(reader.has(kWeights, "wpe.weight"));
  EXPECT_FALSE(reader.has("other.safetensors", "wte.weight"));
  EXPECT_THAT(error_line([&] { reader.tensor(kWeights, "wpe.weight"); }),
              AllOf(HasSubstr("model.safetensors has no tensor 'wpe.weight'"),
                    HasSubstr("checkpoint show")));
  EXPECT_THAT(error_line([&] { reader.tensor("other.safetensors", "w"); }),
              HasSubstr("has no file other.safetensors"));
  const std::vector<int64_t> wanted = {97, 17};
  EXPECT_THAT(error_line([&] { reader.tensor(kWeights, "wte.weight", wanted); }),
              HasSubstr("tensor 'wte.weight' of model.safetensors has shape [17, 97], expected "
                        "[97, 17]"));
}

TEST_F(ReaderTest, ReadsOutsideOfATensorAreABug) {
  const Reader reader(root_.path());
  std::vector<std::byte> out(8);
  reader.read(kWeights, "wte.weight", 17 * 97 - 2, out);
  EXPECT_THROW(reader.read(kWeights, "wte.weight", 17 * 97 - 1, out), std::logic_error);
  EXPECT_THROW(reader.read(kWeights, "wte.weight", SIZE_MAX / 2, out), std::logic_error);
  EXPECT_THROW(reader.read(kWeights, "wte.weight", 0, std::span(out).first(7)), std::logic_error);
}

TEST_F(ReaderTest, TextsAreCheckedWhenRead) {
  EXPECT_TRUE(Reader(root_.path()).has_text("state.json"));
  EXPECT_FALSE(Reader(root_.path()).has_text("run.json"));
  put(newest("state.json"), "{\"step\": 3}");
  EXPECT_THAT(error_line([&] { Reader(root_.path()).text("state.json"); }),
              HasSubstr("state.json: was edited or damaged"));
  EXPECT_THAT(error_line([&] { Reader(root_.path()).text("run.json"); }),
              HasSubstr("has no run.json"));
}

}  // namespace
}  // namespace hydrofoil::checkpoint::reader_test
