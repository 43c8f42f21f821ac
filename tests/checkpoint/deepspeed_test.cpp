// SPDX-License-Identifier: Apache-2.0
// Checkpoints that DeepSpeed wrote (make_deepspeed_golden.py), against what its own tools make of
// them.
#include "hydrofoil/checkpoint/deepspeed.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <numeric>
#include <random>

#include "hydrofoil/checkpoint/export.h"
#include "hydrofoil/io/safetensors.h"
#include "tests/checkpoint/support.h"

namespace hydrofoil::checkpoint::deepspeed_test {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

const fs::path kGolden = fs::path(GOLDEN_FOLDER) / "deepspeed";
const std::vector<std::string> kCases = {"stage0_bf16", "stage1_fp32", "stage2_bf16", "stage3_bf16",
                                         "stage3_fp32"};

std::vector<float> floats_of(std::span<const std::byte> bytes) {
  std::vector<float> values(bytes.size() / sizeof(float));
  std::memcpy(values.data(), bytes.data(), bytes.size());
  return values;
}

// A copy of a case in which files can be damaged.
fs::path copy_of(const std::string& name, const Scratch& scratch) {
  const fs::path copy = scratch.path() / name;
  fs::copy(kGolden / name, copy, fs::copy_options::recursive);
  return copy;
}

fs::path file_of(const fs::path& folder, const std::string& part) {
  for (const auto& entry : fs::directory_iterator(folder / "global_step2"))
    if (entry.path().filename().string().find(part) != std::string::npos) return entry.path();
  throw std::logic_error("no file " + part);
}

std::string load_error(const fs::path& folder) {
  return error_line([&] { ModelSource(folder).weights(); });
}

TEST(DeepSpeed, EveryTensorIsWhatItsOwnToolsMakeOfIt) {
  for (const std::string& name : kCases) {
    const auto folder = deepspeed_folder(kGolden / name);
    ASSERT_TRUE(folder) << name;
    const DeepSpeedWeights weights(*folder);
    const io::SafetensorsFile expected(kGolden / name / "expected.safetensors");
    for (const auto& tensor : expected.header().tensors) {
      const auto values = floats_of(expected.mapped(tensor));
      ASSERT_TRUE(weights.has(tensor.name)) << name << " " << tensor.name;
      EXPECT_EQ(weights.shape(tensor.name), tensor.shape) << name << " " << tensor.name;
      std::vector<float> read(values.size());
      weights.read(tensor.name, 0, read);
      EXPECT_EQ(read, values) << name << " " << tensor.name;
      for (size_t begin = 0; begin < values.size(); begin += 5) {  // across the files of ranks
        std::vector<float> part((values.size() - begin + 1) / 2);
        weights.read(tensor.name, begin, part);
        EXPECT_TRUE(std::equal(part.begin(), part.end(), values.data() + begin))
            << name << " " << tensor.name << " from " << begin;
      }
    }
    EXPECT_EQ(weights.progress().steps, 2) << name;
    EXPECT_EQ(weights.progress().samples, 4) << name;
    EXPECT_EQ(weights.has("exp_avg.transformer.wte.weight"), name != "stage0_bf16");
    EXPECT_THAT(error_line([&] { weights.shape("none"); }), HasSubstr("has no tensor 'none'"));
  }
}

TEST(DeepSpeed, IsAModelLikeAnyOther) {
  const Scratch scratch;
  for (const std::string& name : kCases) {
    const ModelSource source(kGolden / name);
    EXPECT_EQ(source.spec().vocab_size, 11);
    export_model(source, scratch.path() / name, DType::kF32);
    const auto exported = ModelSource(scratch.path() / name).weights();
    const auto weights = source.weights();
    for (const auto& block : spec::blocks(source.spec()))
      for (const auto& parameter : block.parameters) {
        const auto count = static_cast<size_t>(std::accumulate(
            parameter.shape.begin(), parameter.shape.end(), int64_t{1}, std::multiplies<>()));
        std::vector<float> a(count), b(count);
        weights->read(parameter.name, 0, a);
        exported->read(parameter.name, 0, b);
        EXPECT_EQ(a, b) << name << " " << parameter.name;
      }
    // The folder of the tag means the same.
    EXPECT_EQ(ModelSource(kGolden / name / "global_step2").spec(), source.spec());
  }
}

TEST(DeepSpeed, SaysWhatIsMissing) {
  const Scratch scratch;
  const fs::path two = copy_of("stage2_bf16", scratch), three = copy_of("stage3_fp32", scratch);
  fs::remove(file_of(two, "rank_1_mp_rank_00_optim"));
  EXPECT_THAT(load_error(two), HasSubstr("has no file bf16_zero_pp_rank_1_mp_rank_00_optim"));
  fs::remove(file_of(three, "rank_1_mp_rank_00_model"));
  EXPECT_THAT(load_error(three), HasSubstr("has no file zero_pp_rank_1_mp_rank_00_model"));
  fs::remove(file_of(two, "rank_0_mp_rank_00_optim"));
  put(two / "global_step2" / "zero_pp_rank_1_mp_rank_00_optim_states.pt", "");
  EXPECT_THAT(load_error(two), HasSubstr("has no file zero_pp_rank_0_mp_rank_00_optim"));
  fs::remove(three / "config.json");
  EXPECT_THAT(load_error(three), HasSubstr("DeepSpeed checkpoint without the model's config.json"));
}

TEST(DeepSpeed, RefusesFilesOfOtherKindsOfParallelism) {
  for (const std::string name :
       {"mp_rank_01_model_states.pt", "layer_00-model_states.pt",
        "expp_rank_0_mp_rank_00_optim_states.pt", "zero_pp_rank_2_mp_rank_00_optim_states.pt"}) {
    const Scratch scratch;
    const fs::path folder = copy_of("stage1_fp32", scratch);
    put(folder / "global_step2" / name, "");
    EXPECT_THAT(load_error(folder), HasSubstr("has the file " + name + ", which has no place"));
  }
}

TEST(DeepSpeed, RefusesEveryTruncationOfAFile) {
  const Scratch scratch;
  const fs::path folder = copy_of("stage3_bf16", scratch);
  for (const std::string part : {"rank_1_mp_rank_00_optim", "rank_0_mp_rank_00_model"}) {
    const fs::path file = file_of(folder, part);
    const std::string whole = get(file);
    for (size_t size = 0; size < whole.size(); size += 61) {
      put(file, whole.substr(0, size));
      EXPECT_THAT(load_error(folder), HasSubstr(file.filename().string())) << size;
    }
    put(file, whole);
  }
}

// A pickle is data here: a name that is not known is refused, whatever it would do.
TEST(DeepSpeed, RefusesForeignObjects) {
  const Scratch scratch;
  const fs::path folder = copy_of("stage2_bf16", scratch);
  const fs::path file = file_of(folder, "rank_0_mp_rank_00_optim");
  std::string bytes = get(file);
  const std::string known = "cdeepspeed.runtime.zero.config\nZeroStageEnum\n";
  const size_t at = bytes.find(known);
  ASSERT_NE(at, std::string::npos);
  put(file,
      bytes.replace(at, known.size(), "cos\nsystem" + std::string(known.size() - 11, 'x') + "\n"));
  EXPECT_THAT(load_error(folder), HasSubstr("names 'os.system"));
}

// Whatever the bytes: refused with a word, or read without leaving a file.
TEST(DeepSpeed, DamagedFilesAreRefusedOrRead) {
  std::mt19937 random(5);
  size_t refused = 0;
  for (const std::string& name : kCases) {
    const Scratch scratch;
    const fs::path folder = copy_of(name, scratch);
    for (const std::string part : {"optim_states", "model_states"}) {
      if (name == "stage0_bf16" && part == "optim_states") continue;
      const fs::path file = file_of(folder, part);
      const std::string whole = get(file);
      for (int i = 0; i < 80; ++i) {
        std::string bytes = whole;
        for (int flips = 0; flips < 3; ++flips)
          bytes[random() % std::min<size_t>(bytes.size(), 4000)] = static_cast<char>(random());
        put(file, bytes);
        try {
          const DeepSpeedWeights weights(folder / "global_step2");
          std::vector<float> values(33);
          weights.read("transformer.wte.weight", 0, values);
        } catch (const Error& error) {
          EXPECT_EQ(error.code(), ExitCode::kCheckpoint) << error.line();
          ++refused;
        }
      }
      put(file, whole);
    }
  }
  EXPECT_GT(refused, 100u);
}

}  // namespace
}  // namespace hydrofoil::checkpoint::deepspeed_test
