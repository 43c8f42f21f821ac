// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/io/bench.h"

#include <algorithm>
#include <chrono>
#include <memory>
#include <new>
#include <span>

#include "hydrofoil/core/error.h"
#include "hydrofoil/io/async_io.h"

namespace hydrofoil::io {
namespace {

constexpr size_t kBufferBytes = size_t{64} << 20;

struct Free {
  void operator()(std::byte* data) const {
    operator delete[](data, std::align_val_t(kDirectAlign));
  }
};

// 10^9 bytes a second that `start` moves from or to one buffer, two transfers at a time: while one
// is awaited, the next keeps the queue full. The whole file, or until the time is over.
template <typename Start>
double gb_per_s(const BenchOptions& options, size_t buffer_bytes, const Start& start) {
  const auto begin = std::chrono::steady_clock::now();
  const auto seconds = [&] {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  };
  Transfer before;
  uint64_t at = 0;
  while (at < options.file_bytes &&
         (options.most_seconds == 0 || seconds() < options.most_seconds)) {
    const uint64_t size = std::min<uint64_t>(buffer_bytes, options.file_bytes - at);
    const Transfer now = start(at, size);
    before.wait();
    before = now;
    at += size;
  }
  before.wait();
  return static_cast<double>(at) / seconds() / 1e9;
}

void require_space(const BenchOptions& options) {
  const uint64_t free = free_space_bytes(options.folder);
  if (free < options.file_bytes)
    throw Error(ExitCode::kDoesNotFit,
                std::to_string(options.file_bytes) + " bytes are to be written, " +
                    std::to_string(free) + " are free",
                options.folder.string(), "give a smaller --size or another --path");
}

}  // namespace

const BenchCase& BenchResult::best(double margin) const {
  const auto cost = [](const BenchCase& c) { return 1 / c.write_gb_per_s + 1 / c.read_gb_per_s; };
  const BenchCase* chosen = &cases.front();
  for (const BenchCase& later : cases)
    if (cost(later) * margin < cost(*chosen)) chosen = &later;
  return *chosen;
}

BenchResult bench(const BenchOptions& options,
                  const std::function<void(const BenchCase&)>& on_case) {
  const File file = File::scratch(options.folder);
  require_space(options);
  file.reserve(options.file_bytes);
  const size_t buffer_bytes =
      std::max(kBufferBytes, *std::ranges::max_element(options.block_bytes));
  const std::unique_ptr<std::byte[], Free> buffer(new (std::align_val_t(kDirectAlign))
                                                      std::byte[buffer_bytes]);
  for (size_t i = 0; i < buffer_bytes; ++i) buffer[i] = static_cast<std::byte>(i * 97 >> 7);
  BenchResult result{.direct = file.direct(), .backend = {}, .cases = {}};
  for (const size_t block : options.block_bytes)
    for (const int depth : options.queue_depths)
      for (const int threads : options.threads) {
        AsyncIo io({.block_bytes = block, .queue_depth = depth, .threads = threads});
        result.backend = io.backend();
        BenchCase measured{.block_bytes = block, .queue_depth = depth, .threads = threads};
        measured.write_gb_per_s = gb_per_s(options, buffer_bytes, [&](uint64_t at, size_t size) {
          return io.write(file, at, {buffer.get(), size});
        });
        measured.read_gb_per_s = gb_per_s(options, buffer_bytes, [&](uint64_t at, size_t size) {
          return io.read(file, at, {buffer.get(), size});
        });
        result.cases.push_back(measured);
        if (on_case) on_case(measured);
      }
  return result;
}

BenchResult tune(const TuneOptions& options, const std::function<void(const BenchCase&)>& on_case) {
  BenchOptions next{.folder = options.folder,
                    .file_bytes = options.file_bytes,
                    .block_bytes = {size_t{256} << 10, size_t{1} << 20, size_t{4} << 20},
                    .queue_depths = {8},
                    .threads = {1},
                    .most_seconds = options.seconds_per_case};
  BenchResult all = bench(next, on_case);
  const auto go_on = [&](auto& knob, std::vector<int> values) {
    const BenchCase best = all.best(kTuneMargin);
    next.block_bytes = {best.block_bytes};
    next.queue_depths = {best.queue_depth};
    next.threads = {best.threads};
    knob = std::move(values);
    const auto more = bench(next, on_case);
    all.cases.insert(all.cases.end(), more.cases.begin(), more.cases.end());
  };
  go_on(next.queue_depths, {2, 4, 16, 32});
  go_on(next.threads, {2, 4});
  return all;
}

}  // namespace hydrofoil::io
