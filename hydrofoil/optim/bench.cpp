// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/optim/bench.h"

#include <algorithm>
#include <array>
#include <bit>
#include <chrono>
#include <cstdint>
#include <tuple>

#include "hydrofoil/core/parallel.h"
#include "hydrofoil/kernels/fill.h"
#include "hydrofoil/kernels/norm.h"
#include "hydrofoil/optim/update_rule.h"

namespace hydrofoil::optim {
namespace {

struct Resting {
  std::string_view name;
  DType dtype;
  bool by_chance;
};
constexpr Resting kResting[] = {{"fp32", DType::kF32, false},
                                {"bf16", DType::kBF16, false},
                                {"bf16 by chance", DType::kBF16, true}};

// Parameter, gradient and states, all about 0.01.
class Arrays {
 public:
  Arrays(size_t count, size_t states, const Resting& resting) {
    const bool wide = resting.dtype == DType::kF32;
    const uint32_t bits = wide ? std::bit_cast<uint32_t>(0.01f) : to_bf16(0.01f) * 0x10001u;
    for (size_t i = 0; i < 2 + states; ++i)
      memory_.emplace_back(wide ? count : (count + 1) / 2, std::bit_cast<float>(bits));
    const auto values = [&](size_t i) {
      return Values{reinterpret_cast<std::byte*>(memory_[i].data()), count, resting.dtype};
    };
    step = {.param = values(0), .grad = values(1), .grad_scale = 0.5f};
    for (size_t i = 0; i < states; ++i) step.states[i] = values(2 + i);
    if (resting.by_chance) step.rounding = kernels::StochasticRounding{.seed = 1};
  }

  // The bytes of a step: the gradient is read, all else read and written; a rule that measures
  // reads that once more.
  void touch(bool measures) {
    for (size_t i = 0; i < memory_.size(); ++i) {
      if (i == 1 || measures) kernels::all_finite(memory_[i]);
      if (i != 1) kernels::scale(memory_[i], 1);
    }
  }

  UpdateArrays step;

 private:
  std::vector<std::vector<float>> memory_;  // 16-bit numbers in pairs
};

double seconds_of(const std::function<void()>& run) {
  const auto begin = std::chrono::steady_clock::now();
  run();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

double median(std::vector<double> seconds) {
  std::ranges::sort(seconds);
  return seconds[seconds.size() / 2];
}

void step(const UpdateRule& rule, const UpdateArrays& arrays, int64_t count) {
  const Hyperparameters group{.lr = 1e-6, .weight_decay = 0.1, .momentum = 0.9};
  if (rule.measure) {
    LambNorms norms;
    rule.measure(arrays, group, {.count = count}, 0, norms);
  }
  rule.update(arrays, group, {.count = count});
}

BenchCase measure(const UpdateRule& rule, const Resting& resting, size_t elements, int rounds) {
  Arrays arrays(elements, rule.states.size(), resting);
  const bool measures = rule.measure != nullptr;
  // Small sizes go round several times, so that the clock has something to see.
  const size_t repeats = std::max<size_t>(1, 1'000'000 / std::max<size_t>(elements, 1));
  std::vector<double> steps, limits;
  for (int64_t round = 0; round <= rounds; ++round) {
    const double taken = seconds_of([&] {
      for (size_t i = 0; i < repeats; ++i) step(rule, arrays.step, round + 1);
    });
    const double limit = seconds_of([&] {
      for (size_t i = 0; i < repeats; ++i) arrays.touch(measures);
    });
    if (round == 0) continue;  // memory was new
    steps.push_back(taken / static_cast<double>(repeats));
    limits.push_back(limit / static_cast<double>(repeats));
  }
  const double written = static_cast<double>(1 + rule.states.size()), reads = measures ? 2 : 1;
  return {.resting = resting.name,
          .elements = elements,
          .threads = compute_threads(),
          .bytes_per_element =
              static_cast<double>(size_of(resting.dtype)) * (1 + written * (1 + reads)),
          .step_seconds = median(steps),
          .limit_seconds = median(limits)};
}

}  // namespace

size_t bench_memory_bytes(const BenchOptions& options) {
  constexpr size_t kArrays = 2 + std::tuple_size_v<decltype(UpdateArrays::states)>;
  return options.elements.empty() ? 0
                                  : std::ranges::max(options.elements) * kArrays * sizeof(float);
}

std::vector<BenchCase> bench(const BenchOptions& options,
                             const std::function<void(const BenchCase&)>& on_case) {
  const Hyperparameters moving{.momentum = 0.9};
  const UpdateRule rule = make_rule(options.optimizer, {&moving, 1});
  const int before = compute_threads();
  std::vector<BenchCase> cases;
  for (const size_t elements : options.elements)
    for (const int threads : options.threads)
      for (const Resting& resting : kResting) {
        set_compute_threads(threads);
        cases.push_back(measure(rule, resting, elements, options.rounds));
        if (on_case) on_case(cases.back());
      }
  set_compute_threads(before);
  return cases;
}

}  // namespace hydrofoil::optim
