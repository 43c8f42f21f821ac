// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/checkpoint/verify.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "hydrofoil/checkpoint/folder.h"
#include "tests/checkpoint/support.h"

namespace hydrofoil::checkpoint::verify_test {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StartsWith;

constexpr int64_t kLarge = 100003;
constexpr const char* kWeights = "model.safetensors";

class VerifyTest : public ::testing::Test {
 protected:
  void SetUp() override { Model(8, kLarge).save_on(2, {root_.path()}); }

  std::vector<std::string> problems() const {
    std::vector<std::string> lines;
    for (const Problem& problem : verify(root_.path())) lines.push_back(problem.line());
    return lines;
  }
  fs::path file(const std::string& name) const { return root_ / "step-00000008" / name; }
  void flip(const std::string& name, uint64_t byte) const {
    std::string bytes = get(file(name));
    bytes.at(byte) = static_cast<char>(bytes[byte] ^ 16);
    put(file(name), bytes);
  }
  Scratch root_;
};

TEST_F(VerifyTest, FindsNothingInASoundCheckpoint) {
  EXPECT_THAT(problems(), ElementsAre());
}

TEST_F(VerifyTest, OneBitInAnyTensorNamesFileAndTensor) {
  const Manifest manifest = Reader(root_.path()).manifest();
  for (const auto& [name, record] : manifest.files)
    for (const auto& [tensor, at] : record.tensors) {
      if (at.bytes == 0) continue;
      for (const uint64_t byte : {at.offset, at.offset + at.bytes / 2, at.offset + at.bytes - 1}) {
        flip(name, byte);
        EXPECT_THAT(problems(), ElementsAre(StartsWith(name + ", tensor '" + tensor +
                                                       "': does not match its digest")));
        flip(name, byte);
      }
    }
}

TEST_F(VerifyTest, OneBitInAHeaderATextOrTheManifestNamesTheFile) {
  for (const uint64_t byte : {0, 9, 100}) {
    flip(kWeights, byte);
    EXPECT_THAT(problems(), ElementsAre("model.safetensors: its header does not match its digest"));
    flip(kWeights, byte);
  }
  flip("config.json", 3);
  EXPECT_THAT(problems(), ElementsAre("config.json: was edited or damaged since it was saved"));
  flip("config.json", 3);
  flip("manifest.json", 300);
  EXPECT_THAT(problems(), ElementsAre(StartsWith("manifest.json: not")));
}

TEST_F(VerifyTest, TruncatedMissingAndEditedFilesAreNamed) {
  fs::resize_file(file(kWeights), fs::file_size(file(kWeights)) - 100000);
  fs::remove(file("optimizer.safetensors"));
  put(file("state.json"), "{}");
  const auto lines = problems();
  ASSERT_GE(lines.size(), 4u);
  EXPECT_EQ(lines[0], "state.json: was edited or damaged since it was saved");
  EXPECT_THAT(lines[1], StartsWith("model.safetensors: has"));
  EXPECT_THAT(lines[2], StartsWith("model.safetensors, tensor '"));
  EXPECT_THAT(lines[2], HasSubstr("is cut off: it ends at byte"));
  EXPECT_EQ(lines.back(), "optimizer.safetensors: cannot open: No such file or directory");
}

TEST_F(VerifyTest, LooksAtTheOneThatLatestNamesAndAtNoOther) {
  Model(9, 1009).save_on(1, {root_.path()});
  fs::remove(root_ / "step-00000009" / "manifest.json");
  EXPECT_THAT(problems(), ElementsAre(StartsWith("manifest.json: is missing")));
  EXPECT_NE(error_line([&] { verify(root_ / "none"); }), "");
}

TEST_F(VerifyTest, RequireIntactFailsOnEveryRankForDamageThatOneRankSees) {
  const auto check = [&](const char* name) {
    std::vector<std::string> lines(3);
    run_ranks(3, [&](const comm::Communicator& group) {
      const Reader reader(root_.path());
      lines[static_cast<size_t>(group.rank())] =
          error_line([&] { require_intact(group, reader, name); });
    });
    EXPECT_EQ(lines[0], lines[1]);
    EXPECT_EQ(lines[0], lines[2]);
    return lines[0];
  };
  EXPECT_EQ(check(kWeights), "");
  flip(kWeights, Reader(root_.path()).tensor(kWeights, "wte.weight").offset + 77);
  EXPECT_THAT(check(kWeights), HasSubstr("tensor 'wte.weight' does not match its digest"));
  EXPECT_EQ(check("optimizer.safetensors"), "");
  EXPECT_THAT(check("none"), HasSubstr("has no file none"));
}

TEST(Verify, FindsDamageInAnyPartOfASplitFile) {
  const Scratch scratch;
  const Model model(1, 1009);
  model.save_on(2, {.root = scratch.path(), .max_file_bytes = 4000});
  const fs::path folder = scratch / "step-00000001";
  const Manifest manifest = read_complete(folder);
  for (const auto& [name, record] : manifest.files) {
    const std::string whole = get(folder / name);
    std::string bytes = whole;
    const auto& [tensor, place] = *record.tensors.rbegin();
    if (place.bytes == 0) continue;
    bytes[place.offset] = static_cast<char>(bytes[place.offset] ^ 1);
    put(folder / name, bytes);
    const auto problems = verify(folder);
    ASSERT_EQ(problems.size(), 1u) << name;
    EXPECT_THAT(problems[0].line(), StartsWith(name + ", tensor '" + tensor + "'"));
    const std::string part_of = record.part_of;
    run_ranks(2, [&](const comm::Communicator& group) {
      const Reader reader(folder);
      EXPECT_THAT(error_line([&] { require_intact(group, reader, part_of); }), HasSubstr(name));
    });
    put(folder / name, whole);
  }
  fs::remove(folder / "model-00002-of-00004.safetensors");
  EXPECT_THAT(error_line([&] { Reader reader(folder); }), HasSubstr("model-00002-of-00004"));
}

TEST(ReadBack, NamesTheRankWhoseBytesDidNotArrive) {
  const Scratch scratch;
  put(scratch / "f", "--abcdefgh");
  const io::File file(scratch / "f", io::Access::kRead);
  const PlannedTensor tensor{"w", {4}, DType::kF16, 2, 8, {{0, 1, 1, 0}, {1, 4, 0, 1}}};
  const auto digest = [](const char* text) { return io::hash_of(std::string_view(text)); };
  const std::vector<Digests> good = {{"", digest("cdefgh")}, {digest("ab")}};
  const std::vector<Digests> bad = {{"", digest("cdefgh")}, {digest("aB")}};
  EXPECT_EQ(read_back(file, tensor, good), digest("abcdefgh"));
  EXPECT_THAT(error_line([&] { read_back(file, tensor, bad); }),
              HasSubstr("f: tensor 'w' reads back differently from what rank 1 wrote"));
}

}  // namespace
}  // namespace hydrofoil::checkpoint::verify_test
