// SPDX-License-Identifier: Apache-2.0
// How long training waits for a checkpoint, and how near the write comes to the disk. Ranks are
// threads; each round writes the same bytes four times: plainly (one file, all ranks, fsync: what
// the disk takes), with save(), and with a Saver that has memory for all of them: once with nothing
// to do until they are copied, once with half a second of reading them, as forward and backward do.
//   save_bench [folder=.] [megabytes=2000] [ranks=2] [rounds=3]
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <numeric>
#include <string>
#include <thread>
#include <vector>

#include "hydrofoil/checkpoint/saver.h"
#include "hydrofoil/comm/backend/thread/thread_world.h"
#include "hydrofoil/core/host.h"
#include "hydrofoil/core/parallel.h"
#include "hydrofoil/io/file.h"

namespace {

using namespace hydrofoil;
namespace fs = std::filesystem;

struct Settings {
  fs::path folder = ".";
  size_t bytes = 2'000'000'000;  // of all ranks
  int ranks = 2, rounds = 3;
};

struct Seconds {
  std::vector<double> disk, save, copied, waited, beside;  // of the slowest rank, by round
};

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

double slowest(const comm::Communicator& group, double seconds) {
  group.all_reduce({&seconds, 1, DType::kF64}, comm::Reduce::kMax, {});
  return seconds;
}

template <class Body>
double timed(const comm::Communicator& group, const Body& body) {
  group.barrier();
  const double begin = now();
  body();
  return slowest(group, now() - begin);
}

// One tensor for each of 16 layers, as a model has them, cut among the ranks.
checkpoint::Snapshot snapshot(int64_t step, int rank, int ranks, std::span<const float> mine) {
  constexpr size_t kTensors = 16;
  const size_t part = mine.size() / kTensors;
  checkpoint::Snapshot result{.step = step, .files = {{"model.safetensors", {}}}, .texts = {}};
  for (size_t i = 0; i < kTensors; ++i)
    result.files[0].tensors.push_back(
        {"layers." + std::to_string(i),
         {static_cast<int64_t>(part) * ranks},
         DType::kF32,
         {{part * static_cast<size_t>(rank), std::as_bytes(mine.subspan(i * part, part))}}});
  return result;
}

void write_plainly(const comm::Communicator& group, const fs::path& path,
                   std::span<const std::byte> mine) {
  constexpr size_t kPart = size_t{8} << 20;
  if (group.rank() == 0) {
    const io::File file(path, io::Access::kCreate);
    file.reserve(mine.size() * static_cast<size_t>(group.size()));
  }
  group.barrier();
  const io::File file(path, io::Access::kReadWrite);
  const uint64_t begin = mine.size() * static_cast<size_t>(group.rank());
  for (size_t at = 0; at < mine.size(); at += kPart) {
    const auto part = mine.subspan(at, std::min(kPart, mine.size() - at));
    file.write_at(begin + at, part);
    file.begin_sync(begin + at, part.size());
  }
  file.sync();
  group.barrier();
  if (group.rank() == 0) fs::remove(path);
}

void read_for(double seconds, std::span<const float> values) {
  volatile float sink = 0;
  for (const double end = now() + seconds; now() < end;)
    for (size_t i = 0; i < values.size() && now() < end; i += 4096)
      sink = std::accumulate(
          values.begin() + static_cast<ptrdiff_t>(i),
          values.begin() + static_cast<ptrdiff_t>(std::min(i + 4096, values.size())), 0.0F);
  static_cast<void>(sink);
}

void run(const comm::Communicator& group, const Settings& settings, const fs::path& folder,
         Seconds& seconds) {
  set_compute_threads(1);
  std::vector<float> mine(settings.bytes / static_cast<size_t>(settings.ranks) / sizeof(float) /
                          1024 * 1024);
  for (size_t i = 0; i < mine.size(); ++i) mine[i] = static_cast<float>(i % 9973);
  const checkpoint::SaveOptions options{.root = folder / "checkpoints", .keep = 1};
  checkpoint::Saver saver(group, options, mine.size() * sizeof(float));
  int64_t step = 0;
  const auto next = [&] { return snapshot(++step, group.rank(), group.size(), mine); };
  saver.start(next());  // its memory is fresh: not counted
  saver.finish();
  for (int round = 0; round < settings.rounds; ++round) {
    const double disk = timed(
        group, [&] { write_plainly(group, folder / "plain", std::as_bytes(std::span(mine))); });
    const double save = timed(group, [&] { checkpoint::save(group, next(), options); });
    const auto saved_beside = [&](double work_seconds) {
      group.barrier();
      saver.start(next());
      read_for(work_seconds, mine);
      saver.wait_for_copy();
      return *saver.finish();
    };
    const double copied = slowest(group, saved_beside(0).waited_seconds);
    const auto saved = saved_beside(0.5);
    const double waited = slowest(group, saved.waited_seconds);
    const double beside = slowest(group, saved.seconds);
    if (group.rank() != 0) continue;
    seconds.copied.push_back(copied);
    seconds.disk.push_back(disk);
    seconds.save.push_back(save);
    seconds.waited.push_back(waited);
    seconds.beside.push_back(beside);
  }
}

double median(std::vector<double> values) {
  std::ranges::sort(values);
  return values[values.size() / 2];
}

}  // namespace

int main(int argc, char** argv) {
  Settings settings;
  if (argc > 1) settings.folder = argv[1];
  if (argc > 2) settings.bytes = std::strtoull(argv[2], nullptr, 10) * 1'000'000;
  if (argc > 3) settings.ranks = std::max(1, std::atoi(argv[3]));
  if (argc > 4) settings.rounds = std::max(1, std::atoi(argv[4]));
  const fs::path folder = settings.folder / ("save_bench." + std::to_string(::getpid()));
  fs::create_directories(folder);
  const comm::ThreadWorld world(settings.ranks);
  Seconds seconds;
  {
    std::vector<std::jthread> threads;
    for (int rank = 0; rank < settings.ranks; ++rank)
      threads.emplace_back([&, rank] { run(world.rank(rank), settings, folder, seconds); });
  }
  fs::remove_all(folder);
  const double gigabytes = static_cast<double>(settings.bytes) / 1e9;
  const double disk = median(seconds.disk), save = median(seconds.save);
  const double copied = median(seconds.copied), waited = median(seconds.waited);
  const double beside = median(seconds.beside);
  std::printf("%s, %d ranks, %.2f GB in all, median of %d\n", host::cpu_model().c_str(),
              settings.ranks, gigabytes, settings.rounds);
  std::printf("disk    %.2f s  %.2f GB/s\n", disk, gigabytes / disk);
  std::printf("save    %.2f s  %.2f GB/s  %.2f of the disk's rate\n", save, gigabytes / save,
              disk / save);
  std::printf(
      "beside  %.2f s  %.2f GB/s  %.2f of the disk's rate; training waits %.3f s, %.3f of save; "
      "with no work to do meanwhile %.3f s, %.3f\n",
      beside, gigabytes / beside, disk / beside, waited, waited / save, copied, copied / save);
}
