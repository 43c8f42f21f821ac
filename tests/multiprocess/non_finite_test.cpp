// SPDX-License-Identifier: Apache-2.0
// A NaN explains itself: planted in known places, it is named, kept and found again.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <vector>

#include "hydrofoil/io/file.h"
#include "hydrofoil/io/safetensors.h"
#include "train_run.h"

namespace hydrofoil::test::non_finite_test {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

class NonFinite : public Train {
 protected:
  // A Hugging Face folder of a model that has seen one step, untied, of the tokens of `corpus_`.
  fs::path model() {
    const Ended run = hydrofoil(
        {"train",
         run_file({{"steps", 1}, {"model", {{"config", {{"tie_word_embeddings", false}}}}}})});
    EXPECT_EQ(run.code, 0) << run.err;
    const fs::path folder = scratch_.path() / "model";
    fs::create_directories(folder);
    for (const char* file : {"config.json", "tokenizer.json", "model.safetensors"})
      fs::copy(output() / "checkpoints" / "step-00000001" / file, folder / file);
    fs::remove_all(output());
    return folder;
  }

  static void plant(const fs::path& folder, const std::string& tensor, size_t element,
                    float value) {
    const fs::path path = folder / "model.safetensors";
    const auto offset = io::SafetensorsFile(path).at(tensor).offset;
    std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(static_cast<std::streamoff>(offset + element * sizeof value));
    file.write(reinterpret_cast<const char*>(&value), sizeof value);
  }

  std::string run_of(const fs::path& folder, Json change = Json::object()) {
    change["model"] = {{"path", folder.string()}, {"config", nullptr}};
    change["steps"] = 300;
    return run_file(change);
  }

  Json finding() const {
    return Json::parse(io::read_text(output() / "numeric-failure" / "finding.json"));
  }
};

TEST_F(NonFinite, AWeightIsNamedByTheStageThatHoldsIt) {
  const fs::path folder = model();
  plant(folder, "transformer.h.1.mlp.c_fc.weight", 17, std::numeric_limits<float>::quiet_NaN());
  const Ended run = hydrofoil({"train", run_of(folder, {{"mesh", {{"pp", 2}}}}), "--ranks", "2"});
  EXPECT_EQ(run.code, 7) << run.err;
  EXPECT_THAT(run.err, HasSubstr("in the forward of layers.1: transformer.h.1.mlp.c_fc.weight has "
                                 "1 NaN among 5184 elements, the first at 17"));
  const Ended again = hydrofoil({"replay", output().string(), "--json"});
  EXPECT_EQ(again.code, 7) << again.err;
  EXPECT_EQ(Json::parse(again.out)["reproduced"], true) << again.out;
}

TEST_F(NonFinite, AWeightIsNamedWithItsLayerAtEveryStage) {
  const fs::path folder = model();
  plant(folder, "transformer.h.1.mlp.c_fc.weight", 17, std::numeric_limits<float>::quiet_NaN());
  for (const int stage : {0, 3}) {
    fs::remove_all(output());
    const Ended run =
        hydrofoil({"train",
                   run_of(folder, {{"recompute", stage == 3},
                                   {"deepspeed", {{"zero_optimization", {{"stage", stage}}}}}}),
                   "--ranks", "2"});
    EXPECT_EQ(run.code, 7) << run.err;
    EXPECT_THAT(run.err,
                HasSubstr("step 1: the gradient is not finite: in the forward of layers.1: "
                          "transformer.h.1.mlp.c_fc.weight has 1 NaN among 5184 elements, "
                          "the first at 17 (rank 0, micro-batch 0)"));
    EXPECT_EQ(run.err.find("hydrofoil: error"), run.err.rfind("hydrofoil: error")) << run.err;
    const Ended again = hydrofoil({"replay", output().string(), "--json"});
    EXPECT_EQ(again.code, 7) << again.err;
    const Json json = Json::parse(again.out);
    EXPECT_EQ(json["reproduced"], true) << again.out;
    EXPECT_EQ(json["found"], finding()["found"]);
    EXPECT_THAT(run.err, HasSubstr(json["found"].get<std::string>()));
  }
}

// Only sequences with the token "~" meet its embedding: the run goes on until one comes, and the
// rank and micro-batch that got it are named.
TEST_F(NonFinite, DataThatMeetsABadEmbeddingIsNamedAndKept) {
  std::string text;
  for (int i = 0; i < 6000; ++i)
    text += std::to_string(i * 7919 % 613) + (i % 1500 == 700 ? " ~ " : " and ");
  corpus_ = scratch_.write("corpus.txt", text);
  const fs::path folder = model();
  const Json tokenizer = Json::parse(io::read_text(folder / "tokenizer.json"));
  const auto token = tokenizer["model"]["vocab"]["~"].get<int64_t>();
  plant(folder, "transformer.wte.weight", static_cast<size_t>(token) * 36,
        std::numeric_limits<float>::quiet_NaN());
  const Ended run =
      hydrofoil({"train", run_of(folder, {{"deepspeed", {{"gradient_accumulation_steps", 2}}}}),
                 "--ranks", "2"});
  ASSERT_EQ(run.code, 7) << run.err;

  const io::SafetensorsFile file(output() / "numeric-failure" / "batch.safetensors");
  const auto& stored = file.at("tokens");
  ASSERT_EQ(stored.shape, (std::vector<int64_t>{8, 17}));  // 2 sequences x 2 micro-batches x 2
  std::vector<int64_t> tokens(8 * 17);
  file.read(stored, 0, std::as_writable_bytes(std::span(tokens)));
  const auto at = std::find(tokens.begin(), tokens.end(), token) - tokens.begin();
  ASSERT_LT(at, 8 * 17) << "the kept batch has the token";
  const auto part = at / 17 / 2;  // micro-batches of both ranks, in turn
  EXPECT_THAT(run.err, HasSubstr("in the forward of embedding: transformer.wte.weight has 1 "
                                 "NaN among 10800 elements"));
  EXPECT_THAT(run.err, HasSubstr("(rank " + std::to_string(part % 2) + ", micro-batch " +
                                 std::to_string(part / 2) + ")"));
  EXPECT_GT(finding()["step"], 1) << "a later step, or the test shows nothing about data";
  const Ended again = hydrofoil({"replay", output().string()});
  EXPECT_EQ(again.code, 7) << again.err;
  EXPECT_THAT(again.out, HasSubstr(finding()["found"].get<std::string>()));
  EXPECT_THAT(again.out, HasSubstr("as the run found it"));
}

TEST_F(NonFinite, AnOverflowOfTheBackwardNamesTheGradients) {
  const fs::path folder = model();
  // Finite logits whose gradient is not: the final norm's gain is huge.
  plant(folder, "transformer.ln_f.weight", 3, 3e38F);
  const Ended run = hydrofoil({"train", run_of(folder), "--ranks", "2"});
  EXPECT_EQ(run.code, 7) << run.err;
  EXPECT_THAT(run.err, HasSubstr("in the "));
  EXPECT_THAT(run.err, HasSubstr(" of head: "));
  EXPECT_EQ(hydrofoil({"replay", output().string()}).code, 7);
}

TEST_F(NonFinite, ReplayWithoutAFailureSaysSo) {
  const Ended run = hydrofoil({"replay", scratch_.path().string()});
  EXPECT_EQ(run.code, 3);
  EXPECT_THAT(run.err, HasSubstr("has kept no step"));
}

}  // namespace
}  // namespace hydrofoil::test::non_finite_test
