// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/comm/bench.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <cstring>

namespace hydrofoil::comm {
namespace {

const Label kLabel{Purpose::kBenchmark, "bench"};

double now_us() {
  return std::chrono::duration<double, std::micro>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

// Batches of calls; each batch begins after a barrier and lasts as long as on its slowest rank.
class Timer {
 public:
  Timer(const Communicator& group, double seconds) : group_(group), budget_us_(seconds * 1e6) {}

  template <class Call>
  std::vector<double> sample(Call&& call) const {
    batch(call, 1);  // touches pages and wakes threads
    const double once = std::max(batch(call, 3), 0.01);
    // About twenty batches of at least 200 us: the clock and the barrier do not count.
    const auto calls = static_cast<int>(std::clamp(200.0 / once, 1.0, 1e5));
    const auto batches = static_cast<int>(std::clamp(budget_us_ / (once * calls), 5.0, 200.0));
    std::vector<double> times;
    for (int i = 0; i < batches; ++i) times.push_back(batch(call, calls));
    std::sort(times.begin(), times.end());
    return times;
  }

 private:
  template <class Call>
  double batch(Call& call, int calls) const {
    group_.barrier(kLabel);
    const double start = now_us();
    for (int i = 0; i < calls; ++i) call();
    double time = (now_us() - start) / calls;
    group_.all_reduce({&time, 1, DType::kF64}, Reduce::kMax, kLabel);
    return time;
  }

  const Communicator& group_;
  double budget_us_;
};

// Private memory is touched by the rank itself; shared memory comes zeroed.
class Memory {
 public:
  Memory(const Communicator& group, bool shared, size_t bytes) {
    if (shared)
      shared_ = group.alloc(bytes);
    else
      private_.resize(bytes + 64);
  }
  std::byte* data() {
    if (shared_) return shared_.get();
    const auto misfit = reinterpret_cast<uintptr_t>(private_.data()) % 64;
    return private_.data() + (64 - misfit) % 64;
  }

 private:
  SharedBytes shared_;
  std::vector<std::byte> private_;
};

class Bench {
 public:
  Bench(const Communicator& group, const BenchOptions& options)
      : group_(group), timer_(group, options.seconds_per_case) {}

  std::vector<BenchCase> of_size(size_t wanted) {
    const auto ranks = static_cast<size_t>(group_.size());
    const size_t part = std::max<size_t>(1, wanted / sizeof(float) / ranks);
    const size_t bytes = part * ranks * sizeof(float);
    std::vector<BenchCase> results;
    for (const bool shared : {true, false}) {
      Memory whole(group_, shared, bytes), other(group_, shared, bytes / ranks);
      const Buffer all{whole.data(), part * ranks, DType::kF32};
      const Buffer mine{other.data(), part, DType::kF32};
      const auto add = [&](Operation op, double volume, auto&& call) {
        results.push_back(summarise(op, shared, bytes, volume, timer_.sample(call)));
      };
      const double f = static_cast<double>(ranks - 1) / static_cast<double>(ranks);
      add(Operation::kReduceScatter, f,
          [&] { group_.reduce_scatter(all, mine, Reduce::kSum, kLabel); });
      const Buffer own{whole.data() + static_cast<size_t>(group_.rank()) * part * sizeof(float),
                       part, DType::kF32};
      add(Operation::kAllGather, f, [&] { group_.all_gather(own, all, kLabel); });
      add(Operation::kAllReduce, 2 * f, [&] { group_.all_reduce(all, Reduce::kSum, kLabel); });
    }
    const auto times = memcpy_times(bytes);
    for (auto& result : results) {
      result.memcpy_gb_per_s = static_cast<double>(bytes) / times[times.size() / 2] / 1e3;
      result.best_memcpy_gb_per_s = static_cast<double>(bytes) / times[0] / 1e3;
    }
    return results;
  }

 private:
  static BenchCase summarise(Operation op, bool shared, size_t bytes, double volume,
                             const std::vector<double>& times) {
    const auto at = [&](double share) {
      return times[static_cast<size_t>(share * static_cast<double>(times.size() - 1) + 0.5)];
    };
    BenchCase result{.op = op, .shared_memory = shared, .bytes = bytes};
    result.median_us = at(0.5), result.p10_us = at(0.1), result.p90_us = at(0.9);
    result.best_us = times[0];
    result.bus_gb_per_s = volume * static_cast<double>(bytes) / result.median_us / 1e3;
    result.best_bus_gb_per_s = volume * static_cast<double>(bytes) / result.best_us / 1e3;
    return result;
  }

  std::vector<double> memcpy_times(size_t bytes) {
    Memory from(group_, false, bytes), to(group_, false, bytes);
    return timer_.sample([&] {
      std::memcpy(to.data(), from.data(), bytes);
      asm volatile("" : : "r"(to.data()) : "memory");  // each copy is done
    });
  }

  const Communicator& group_;
  Timer timer_;
};

}  // namespace

std::vector<size_t> bench_sizes(const BenchOptions& options) {
  std::vector<size_t> sizes;
  const size_t factor = std::max<size_t>(2, options.factor);
  for (size_t bytes = std::max<size_t>(1, options.smallest_bytes); bytes < options.largest_bytes;
       bytes *= factor) {
    sizes.push_back(bytes);
    if (bytes > options.largest_bytes / factor) break;
  }
  sizes.push_back(options.largest_bytes);
  return sizes;
}

std::vector<BenchCase> bench(const Communicator& group, const BenchOptions& options,
                             const std::function<void(const BenchCase&)>& on_case) {
  std::vector<BenchCase> all;
  Bench cases(group, options);
  for (const size_t bytes : bench_sizes(options))
    for (const auto& result : cases.of_size(bytes)) {
      all.push_back(result);
      if (on_case && group.rank() == 0) on_case(result);
    }
  return all;
}

std::string to_json(const BenchCase& r, int ranks) {
  std::array<char, 500> line{};
  std::snprintf(line.data(), line.size(),
                "{\"event\":\"case\",\"op\":\"%s\",\"ranks\":%d,\"memory\":\"%s\",\"bytes\":%zu,"
                "\"median_us\":%.3f,"
                "\"p10_us\":%.3f,\"p90_us\":%.3f,\"best_us\":%.3f,\"bus_gb_per_s\":%.6g,"
                "\"memcpy_gb_per_s\":%.6g,\"ratio\":%.6g,\"best_ratio\":%.6g}",
                std::string(name_of(r.op)).c_str(), ranks, r.shared_memory ? "shared" : "private",
                r.bytes, r.median_us, r.p10_us, r.p90_us, r.best_us, r.bus_gb_per_s,
                r.memcpy_gb_per_s, r.ratio(), r.best_ratio());
  return line.data();
}

std::string bench_table_head() {
  return "operation      memory        bytes   median us      p10 us      p90 us     best us  "
         "bus GB/s  memcpy  ratio   best";
}

std::string to_table_line(const BenchCase& r) {
  std::array<char, 200> line{};
  std::snprintf(line.data(), line.size(),
                "%-14s %-7s %11zu %11.2f %11.2f %11.2f %11.2f %9.2f %7.2f %6.2f %6.2f",
                std::string(name_of(r.op)).c_str(), r.shared_memory ? "shared" : "private", r.bytes,
                r.median_us, r.p10_us, r.p90_us, r.best_us, r.bus_gb_per_s, r.memcpy_gb_per_s,
                r.ratio(), r.best_ratio());
  return line.data();
}

}  // namespace hydrofoil::comm
