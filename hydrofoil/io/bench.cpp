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

// Seconds that `start` takes to move the whole file from or to one buffer, two transfers at a time:
// while one is awaited, the next keeps the queue full.
template <typename Start>
double seconds_of(uint64_t file_bytes, size_t buffer_bytes, const Start& start) {
  const auto begin = std::chrono::steady_clock::now();
  Transfer before;
  for (uint64_t at = 0; at < file_bytes; at += buffer_bytes) {
    const Transfer now = start(at, std::min<uint64_t>(buffer_bytes, file_bytes - at));
    before.wait();
    before = now;
  }
  before.wait();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
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

const BenchCase& BenchResult::best() const {
  const auto cost = [](const BenchCase& c) { return 1 / c.write_gb_per_s + 1 / c.read_gb_per_s; };
  return *std::ranges::min_element(cases, {}, cost);
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
  const auto gb_per_s = [&](double seconds) {
    return static_cast<double>(options.file_bytes) / seconds / 1e9;
  };
  for (const size_t block : options.block_bytes)
    for (const int depth : options.queue_depths) {
      AsyncIo io({.block_bytes = block, .queue_depth = depth});
      result.backend = io.backend();
      BenchCase measured{.block_bytes = block, .queue_depth = depth};
      measured.write_gb_per_s =
          gb_per_s(seconds_of(options.file_bytes, buffer_bytes, [&](uint64_t at, size_t size) {
            return io.write(file, at, {buffer.get(), size});
          }));
      measured.read_gb_per_s =
          gb_per_s(seconds_of(options.file_bytes, buffer_bytes, [&](uint64_t at, size_t size) {
            return io.read(file, at, {buffer.get(), size});
          }));
      result.cases.push_back(measured);
      if (on_case) on_case(measured);
    }
  return result;
}

}  // namespace hydrofoil::io
