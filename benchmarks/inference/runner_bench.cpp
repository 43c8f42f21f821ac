// SPDX-License-Identifier: Apache-2.0
// What a step of the runner costs: decoding 1, 8 and 32 sequences with 256 tokens behind each, and
// a prompt of 512; beside it what these threads read from memory a second. Of a model's files, or
// of random weights of a known shape.
//   runner_bench [MODEL|smollm2|llama1b] [auto|f32|bf16|q8_0|q4_0|q4_1] [threads=2] [rounds=15]
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "benchmarks/inference/random_model.h"
#include "cli/source_reader.h"
#include "hydrofoil/checkpoint/model_source.h"
#include "hydrofoil/core/error.h"
#include "hydrofoil/core/parallel.h"
#include "hydrofoil/inference/runner.h"

namespace {

using namespace hydrofoil;
using namespace hydrofoil::inference;
using namespace hydrofoil::benchmarks;
using Clock = std::chrono::steady_clock;

constexpr int64_t kBehind = 256, kPrompt = 512;
constexpr int kDecodes = 16;  // steps of a round

std::vector<Page> pages_from(size_t first, int64_t positions) {
  std::vector<Page> pages(KvCache::pages_for(positions));
  std::iota(pages.begin(), pages.end(), static_cast<Page>(first));
  return pages;
}

PackedModel load(const std::string& model, WeightType type) {
  if (kShapes.contains(model)) return random_model(model, type);
  const checkpoint::ModelSource source(model);
  return pack_model(source.spec(), cli::SourceReader(source.weights()), type);
}

double median_seconds(int rounds, const std::function<void()>& work) {
  std::vector<double> seconds;
  work();
  for (int round = 0; round < rounds; ++round) {
    const auto start = Clock::now();
    work();
    seconds.push_back(std::chrono::duration<double>(Clock::now() - start).count());
  }
  std::ranges::sort(seconds);
  return seconds[seconds.size() / 2];
}

class Bench {
 public:
  Bench(const std::string& model, WeightType type, int threads, int rounds)
      : rounds_(rounds),
        model_(load(model, type)),
        team_(threads),
        cache_(model_.spec, DType::kBF16, 32 * KvCache::pages_for(kBehind + 64) + 64),
        runner_(model_, cache_, team_, kPrompt) {
    std::printf("%s, %.1f MB of weights, %d threads\n", model.c_str(),
                static_cast<double>(model_.bytes()) * 1e-6, threads);
  }

  void run() {
    read_limit();
    prefill();
    for (const size_t batch : {1u, 8u, 32u}) decode(batch);
  }

 private:
  void read_limit() {
    const std::span<const std::byte> bytes = model_.head_matrix().packed.span();
    std::vector<std::span<const std::byte>> all = {bytes};
    for (const auto& layer : model_.layers)
      for (const Matrix* matrix : {&layer.qkv, &layer.attention_output, &layer.up, &layer.down})
        all.push_back(matrix->packed.span());
    double total = 0;
    for (const auto& span : all) total += static_cast<double>(span.size());
    std::vector<uint64_t> sums(static_cast<size_t>(team_.size()));
    const double seconds = median_seconds(rounds_, [&] {
      team_.run([&](int me) {
        uint64_t sum = 0;
        for (const auto& span : all) {
          const auto* words = reinterpret_cast<const uint64_t*>(span.data());
          const auto [begin, end] = team_.share(me, span.size() / 8, 8);
          for (size_t i = begin; i < end; ++i) sum += words[i];
        }
        sums[static_cast<size_t>(me)] = sum;
      });
    });
    read_bytes_ = total;
    std::printf("read        %8.1f GB/s\n", total / seconds * 1e-9);
  }

  void prefill() {
    const auto pages = pages_from(0, kPrompt);
    const std::vector<int32_t> prompt(static_cast<size_t>(kPrompt), 7);
    const SequencePart part{.tokens = prompt, .pages = pages};
    const double seconds =
        median_seconds(std::max(rounds_ / 3, 3), [&] { runner_.run({&part, 1}); });
    std::printf("prefill %3d %8.1f tokens/s\n", static_cast<int>(kPrompt),
                static_cast<double>(kPrompt) / seconds);
  }

  void decode(size_t batch) {
    std::vector<std::vector<Page>> pages;
    const int32_t token = 7;
    std::vector<SequencePart> parts;
    for (size_t i = 0; i < batch; ++i)
      pages.push_back(pages_from(i * KvCache::pages_for(kBehind + kDecodes), kBehind + kDecodes));
    for (const auto& of_sequence : pages)
      parts.push_back({.tokens = {&token, 1}, .pages = of_sequence});
    const double seconds = median_seconds(rounds_, [&] {
      for (int step = 0; step < kDecodes; ++step) {
        for (auto& part : parts) part.position = kBehind + step;
        runner_.run(parts);
      }
    });
    const double steps = kDecodes / seconds;
    std::printf("decode %4zu %8.1f tokens/s, weights at %.1f GB/s\n", batch,
                static_cast<double>(batch) * steps, read_bytes_ * steps * 1e-9);
  }

  const int rounds_;
  PackedModel model_;
  Team team_;
  KvCache cache_;
  Runner runner_;
  double read_bytes_ = 0;
};

}  // namespace

int main(int argc, char** argv) {
  const std::string model = argc > 1 ? argv[1] : "smollm2", type = argc > 2 ? argv[2] : "q4_0";
  const int threads = argc > 3 ? std::atoi(argv[3]) : 2,
            rounds = argc > 4 ? std::atoi(argv[4]) : 15;
  if (!kWeightTypes.contains(type) || threads < 1 || rounds < 1) {
    std::fprintf(stderr,
                 "runner_bench [MODEL|smollm2|llama1b] [auto|f32|bf16|q8_0|q4_0|q4_1] [threads=2] "
                 "[rounds=15]\n");
    return 2;
  }
  set_compute_threads(threads);
  try {
    Bench(model, kWeightTypes.at(type), threads, rounds).run();
  } catch (const Error& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return static_cast<int>(error.code());
  }
}
