// SPDX-License-Identifier: Apache-2.0
// Layers that are read for every step: the same bits as a model that is all in memory, within the
// memory that was promised, and what happens when the file fails.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <numeric>
#include <string>
#include <tuple>
#include <vector>

#include "hydrofoil/core/error.h"
#include "hydrofoil/inference/layer_stream.h"
#include "hydrofoil/inference/runner.h"
#include "tests/inference/made_reader.h"

namespace hydrofoil::inference::streaming_test {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

spec::ModelSpec llama(int64_t layers) {
  return spec::model_spec_from_hf(
      R"({"model_type": "llama", "vocab_size": 97, "hidden_size": 96, "intermediate_size": 160,
          "num_hidden_layers": )" +
          std::to_string(layers) + R"(, "num_attention_heads": 6, "num_key_value_heads": 2,
          "max_position_embeddings": 512, "tie_word_embeddings": true})",
      "config");
}

PackedModel packed(const spec::ModelSpec& spec, WeightType type, const Residency& residency = {}) {
  return pack_model(spec, test::MadeReader(spec), type,
                    {.residency = residency, .folder = testing::TempDir()});
}
PackedModel streamed(const spec::ModelSpec& spec, WeightType type, size_t layers, size_t buffers) {
  const PackedModel outline = outline_model(spec, test::MadeReader(spec), type);
  return packed(spec, type, residency_of(outline, layers, buffers));
}

// Of a prompt in two pieces with a second text beside it, then token by token.
std::vector<float> all_logits(const PackedModel& model, int threads) {
  Team team(threads);
  KvCache cache(model.spec, DType::kF32, 16);
  Runner runner(model, cache, team, 64);
  std::vector<int32_t> text(43);
  for (size_t i = 0; i < text.size(); ++i) text[i] = static_cast<int32_t>((i * i * 31 + 5) % 97);
  std::vector<Page> first(8), second(8);
  std::iota(first.begin(), first.end(), Page{0});
  std::iota(second.begin(), second.end(), Page{8});
  std::vector<float> logits;
  const auto run = [&](const std::vector<SequencePart>& parts) {
    runner.run(parts);
    for (size_t row = 0; row < runner.logit_rows(); ++row)
      logits.insert(logits.end(), runner.logits(row).begin(), runner.logits(row).end());
  };
  const std::span<const int32_t> all = text;
  run({{.tokens = all.first(17), .pages = first, .logits = Logits::kAll}});
  run({{.tokens = all.subspan(17, 19), .position = 17, .pages = first},
       {.tokens = all.first(9), .pages = second}});
  for (int64_t at = 36; at < 43; ++at)
    run({{.tokens = all.subspan(static_cast<size_t>(at), 1), .position = at, .pages = first}});
  return logits;
}

TEST(Streaming, BitsAreThoseOfAResidentModel) {
  using Case = std::tuple<int64_t, size_t, size_t>;  // layers, streamed, buffers
  for (const auto type :
       {WeightType::kF32, WeightType::kBF16, WeightType::kQ8, WeightType::kQ4, WeightType::kQ4Min})
    for (const auto& [layers, streams, buffers] :
         {Case{2, 2, 1}, Case{3, 3, 1}, Case{3, 3, 2}, Case{5, 3, 2}, Case{5, 4, 3}, Case{7, 7, 2},
          Case{7, 2, 1}}) {
      const auto spec = llama(layers);
      const auto want = all_logits(packed(spec, type), 2);
      const PackedModel model = streamed(spec, type, streams, buffers);
      EXPECT_EQ(all_logits(model, 1), want);
      EXPECT_EQ(all_logits(model, 3), want);  // goes on where the last reads have left it
    }
}

// Biases, norms of their own and layouts of other families are none of a stream's business.
TEST(Streaming, FamiliesWithBiases) {
  const auto spec = spec::model_spec_from_hf(
      R"({"model_type": "gpt2", "vocab_size": 97, "n_embd": 48, "n_layer": 3, "n_head": 4,
          "n_positions": 64})",
      "config");
  EXPECT_EQ(all_logits(streamed(spec, WeightType::kF32, 3, 2), 2),
            all_logits(packed(spec, WeightType::kF32), 2));
}

TEST(Streaming, AStepReadsEveryStreamedLayerOnce) {
  const auto spec = llama(5);
  const PackedModel model = streamed(spec, WeightType::kQ8, 4, 2);
  const auto& residency = model.residency;
  Team team(2);
  KvCache cache(model.spec, DType::kF32, 4);
  Runner runner(model, cache, team, 8);
  const std::vector<Page> pages = {0, 1};
  const std::vector<int32_t> token = {3};
  for (int64_t at = 0; at < 10; ++at)
    runner.run({{{.tokens = token, .position = at, .pages = pages}}});
  const auto& stream = dynamic_cast<const LayerStream&>(*model.source);
  // The buffers are ahead of the step.
  const uint64_t read = stream.counters().read_bytes, passes = 10 * residency.pass_bytes;
  EXPECT_LE(read, passes + residency.buffers * residency.buffer_bytes);
  EXPECT_GE(read + residency.buffer_bytes, passes);
  EXPECT_EQ(residency.pass_bytes, stream.counters().written_bytes);
}

TEST(Residency, PromisesTheBytesThatAreAllocated) {
  const auto spec = llama(5);
  for (const auto type : {WeightType::kF32, WeightType::kQ4})
    for (const size_t streams : {0, 3, 5}) {
      const PackedModel model = streamed(spec, type, streams, streams == 0 ? 0 : 2);
      const auto weights = model.weight_bytes();
      const uint64_t rest =
          weights.total() - weights.embedding - weights.attention - weights.feed_forward;
      const auto& r = model.residency;
      EXPECT_EQ(r.memory_bytes, model.bytes() + rest + r.buffers * r.buffer_bytes);
    }
}

TEST(Residency, StreamsNoMoreThanItMust) {
  const auto spec = llama(7);
  const PackedModel outline = outline_model(spec, test::MadeReader(spec), WeightType::kQ8);
  const uint64_t all = outline.weight_bytes().total();
  EXPECT_EQ(residency_within(outline, all)->streamed, 0u);
  EXPECT_EQ(residency_within(outline, all - 1)->streamed, 3u);  // two buffers for one layer less
  for (size_t streams = 3; streams < 7; ++streams) {
    const auto r = residency_of(outline, streams, 2);
    EXPECT_EQ(residency_within(outline, r.memory_bytes)->streamed, streams);
    const auto less = residency_within(outline, r.memory_bytes - 1);
    EXPECT_EQ(less->streamed, streams + 1);
    EXPECT_EQ(less->buffers, 2u);
  }
  const auto two = residency_of(outline, 7, 2);
  const auto one = residency_within(outline, two.memory_bytes - 1);
  EXPECT_EQ(one->streamed, 7u);
  EXPECT_EQ(one->buffers, 1u);
  EXPECT_EQ(one->memory_bytes, least_residency(outline).memory_bytes);
  EXPECT_FALSE(residency_within(outline, one->memory_bytes - 1));
  EXPECT_EQ(least_residency(outline, 2).memory_bytes, two.memory_bytes);

  const auto single = llama(1);  // a buffer is as large as what it would save
  const PackedModel layer = outline_model(single, test::MadeReader(single), WeightType::kQ8);
  EXPECT_FALSE(residency_within(layer, layer.weight_bytes().total() - 1));
}

TEST(Residency, SpreadsWhatIsStreamed) {
  const auto spec = llama(13);
  const PackedModel outline = outline_model(spec, test::MadeReader(spec), WeightType::kQ8);
  for (size_t streams = 3; streams <= 13; ++streams) {
    const auto r = residency_of(outline, streams, 2);
    std::vector<size_t> at;
    for (size_t layer = 0; layer < 13; ++layer)
      if (r.streams(layer)) at.push_back(layer);
    ASSERT_EQ(at.size(), streams);
    for (size_t i = 1; i < at.size(); ++i) {
      EXPECT_GE(at[i] - at[i - 1], 13 / streams);
      EXPECT_LE(at[i] - at[i - 1], (13 + streams - 1) / streams);
    }
  }
}

size_t open_files() {
  return static_cast<size_t>(
      std::distance(fs::directory_iterator("/proc/self/fd"), fs::directory_iterator()));
}

TEST(Streaming, LeavesNoFileAndNoDescriptor) {
  const auto spec = llama(3);
  const fs::path folder = fs::path(testing::TempDir()) / "streamed";
  fs::create_directories(folder);
  const size_t before = open_files();
  {
    const PackedModel outline = outline_model(spec, test::MadeReader(spec));
    const PackedModel model =
        pack_model(spec, test::MadeReader(spec), WeightType::kAsStored,
                   {.residency = residency_of(outline, 3, 2), .folder = folder});
    const size_t running = open_files();
    all_logits(model, 2);
    EXPECT_EQ(open_files(), running);
  }
  EXPECT_EQ(open_files(), before);
  EXPECT_TRUE(fs::is_empty(folder));
  fs::remove(folder);
}

// The descriptor of the file that layers lie in, the only one of its size.
int layer_file(uint64_t bytes) {
  for (int fd = 3; fd < 1024; ++fd)
    if (struct stat info{}; fstat(fd, &info) == 0 && static_cast<uint64_t>(info.st_size) == bytes)
      return fd;
  return -1;
}

// Both with what the file is now, and again when asked again.
void expect_failure(Runner& runner, const std::string& why) {
  const std::vector<Page> pages = {0, 1};
  const std::vector<int32_t> tokens = {3, 4, 5};
  // What was read ahead may still be right.
  for (int step = 0; step < 2; ++step) try {
      for (int64_t at = 0; at < 9; at += 3)
        runner.run({{{.tokens = tokens, .position = at, .pages = pages}}});
      FAIL();
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::kError);
      EXPECT_THAT(error.line(), HasSubstr(why));
    }
}

class FailingStream : public testing::Test {
 protected:
  const spec::ModelSpec spec_ = llama(5);
  const PackedModel model_ = streamed(spec_, WeightType::kF32, 5, 2);
  const int file_ = layer_file(model_.residency.pass_bytes);
  Team team_{3};
  KvCache cache_{spec_, DType::kF32, 4};
  Runner runner_{model_, cache_, team_, 8};
};

TEST_F(FailingStream, SaysThatTheFileIsShort) {
  ASSERT_GE(file_, 0);
  const int writable = open(("/proc/self/fd/" + std::to_string(file_)).c_str(), O_RDWR);
  ASSERT_EQ(ftruncate(writable, static_cast<off_t>(model_.residency.pass_bytes / 2)), 0);
  close(writable);
  expect_failure(runner_, "end");
}

TEST_F(FailingStream, SaysWhatTheSystemAnswers) {
  ASSERT_GE(file_, 0);
  const int pipe_end = open("/dev/null", O_WRONLY);  // cannot be read
  ASSERT_EQ(dup2(pipe_end, file_), file_);
  close(pipe_end);
  expect_failure(runner_, "Bad file descriptor");
}

TEST(Streaming, NamesAFolderThatIsNotThere) {
  const auto spec = llama(3);
  const PackedModel outline = outline_model(spec, test::MadeReader(spec));
  try {
    pack_model(spec, test::MadeReader(spec), WeightType::kAsStored,
               {.residency = residency_of(outline, 3, 2), .folder = "/nowhere"});
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.line(), HasSubstr("/nowhere"));
  }
}

}  // namespace
}  // namespace hydrofoil::inference::streaming_test
