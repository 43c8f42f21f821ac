// SPDX-License-Identifier: Apache-2.0
#include "benchmarks/kernels/bench.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string_view>

#include "hydrofoil/core/host.h"
#include "hydrofoil/core/parallel.h"
#include "hydrofoil/kernels/grain.h"
#include "hydrofoil/kernels/isa.h"

// The loops of the limits, compiled for the widest registers too: a limit must not be an
// instruction set's.
#ifdef __x86_64__
#define HYDROFOIL_WIDE __attribute__((target_clones("default", "avx2", "arch=skylake-avx512")))
#else
#define HYDROFOIL_WIDE
#endif

namespace hydrofoil::bench {
namespace {

constexpr size_t kPage = 4096;

double seconds_of(const std::function<void()>& run) {
  const auto begin = std::chrono::steady_clock::now();
  run();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

double quantile(const std::vector<double>& sorted, double q) {
  return sorted[static_cast<size_t>(q * static_cast<double>(sorted.size() - 1) + 0.5)];
}

[[noreturn]] void usage(const char* program) {
  std::fprintf(stderr, "usage: %s [--elements N] [--threads N] [--rounds N] [--json]\n", program);
  std::exit(2);
}

void print(const Options& options, const Case& item, const std::vector<double>& sorted,
           double limit_seconds_per_byte) {
  const double median = quantile(sorted, 0.5);
  const auto rate = [&](double seconds) { return item.bytes / seconds / 1e9; };
  const double share = limit_seconds_per_byte / (median / item.bytes);
  if (options.json) {
    std::printf(
        "{\"benchmark\":\"%s\",\"unit\":\"GB/s\",\"median\":%.3f,\"p10\":%.3f,\"p90\":%.3f,"
        "\"elements_per_second\":%.4g,\"limit\":\"%s\",\"share_of_limit\":%.3f,\"elements\":%zu,"
        "\"threads\":%d,\"isa\":\"%s\",\"cpu\":\"%s\"}\n",
        item.name.c_str(), rate(median), rate(quantile(sorted, 0.9)), rate(quantile(sorted, 0.1)),
        item.items / median, item.limit.c_str(), item.limit.empty() ? 1 : share, options.elements,
        options.threads, std::string(kernels::name_of(kernels::active_isa())).c_str(),
        host::cpu_model().c_str());
    return;
  }
  std::printf("%-34s %7.1f GB/s  (%.1f - %.1f)  %8.0f M/s", item.name.c_str(), rate(median),
              rate(quantile(sorted, 0.9)), rate(quantile(sorted, 0.1)), item.items / median / 1e6);
  if (item.limit.empty())
    std::printf("  limit\n");
  else
    std::printf("  %3.0f %% of %s\n", 100 * share, item.limit.c_str());
}

HYDROFOIL_WIDE float sum(const float* from, size_t count) {
  float lanes[64] = {};
  for (size_t i = 0; i + 64 <= count; i += 64)
    for (size_t k = 0; k < 64; ++k) lanes[k] += from[i + k];
  float total = 0;
  for (float lane : lanes) total += lane;
  return total;
}

HYDROFOIL_WIDE void update(float* __restrict a, float* __restrict b, float* __restrict c,
                           const float* __restrict d, size_t count) {
  for (size_t i = 0; i < count; ++i) {
    a[i] += d[i];
    b[i] += d[i];
    c[i] += d[i];
  }
}

}  // namespace

Options parse(int argc, char** argv, size_t default_elements) {
  Options options{.elements = default_elements};
  for (int i = 1; i < argc; ++i) {
    const std::string_view name = argv[i];
    if (name == "--json") {
      options.json = true;
      continue;
    }
    if (i + 1 >= argc) usage(argv[0]);
    const int64_t value = std::atoll(argv[++i]);
    if (value <= 0) usage(argv[0]);
    if (name == "--elements")
      options.elements = static_cast<size_t>(value);
    else if (name == "--threads")
      options.threads = static_cast<int>(value);
    else if (name == "--rounds")
      options.rounds = static_cast<int>(value);
    else
      usage(argv[0]);
  }
  set_compute_threads(options.threads);
  return options;
}

void run(const Options& options, const std::vector<Case>& cases) {
  std::vector<std::vector<double>> times(cases.size());
  for (const Case& item : cases) item.run();
  for (int round = 0; round < options.rounds; ++round)
    for (size_t i = 0; i < cases.size(); ++i) times[i].push_back(seconds_of(cases[i].run));
  for (auto& t : times) std::sort(t.begin(), t.end());
  for (size_t i = 0; i < cases.size(); ++i) {
    double limit = 0;
    for (size_t j = 0; j < cases.size(); ++j)
      if (cases[j].name == cases[i].limit) limit = quantile(times[j], 0.5) / cases[j].bytes;
    print(options, cases[i], times[i], limit);
  }
}

Floats::Floats(size_t count)
    : count_(count),
      data_(static_cast<float*>(
          std::aligned_alloc(kPage, (count * sizeof(float) + kPage - 1) / kPage * kPage))) {
  if (!data_) throw std::bad_alloc();
  parallel_for(count, kernels::kGrain, [&](size_t begin, size_t end) {
    for (size_t i = begin; i < end; ++i) data_[i] = 1e-5f * static_cast<float>(i % 1999 + 1);
  });
}

void Floats::Free::operator()(float* p) const {
  std::free(p);
}

void copy_limit(std::span<float> to, std::span<const float> from) {
  parallel_for(to.size(), kernels::kGrain, [&](size_t begin, size_t end) {
    std::memcpy(to.data() + begin, from.data() + begin, (end - begin) * sizeof(float));
  });
}

float read_limit(std::span<const float> from) {
  std::atomic<float> total = 0;
  parallel_for(from.size(), kernels::kGrain,
               [&](size_t begin, size_t end) { total += sum(from.data() + begin, end - begin); });
  return total;
}

void update_limit(std::span<float> a, std::span<float> b, std::span<float> c,
                  std::span<const float> d) {
  parallel_for(a.size(), kernels::kGrain, [&](size_t begin, size_t end) {
    update(a.data() + begin, b.data() + begin, c.data() + begin, d.data() + begin, end - begin);
  });
}

}  // namespace hydrofoil::bench
