// SPDX-License-Identifier: Apache-2.0
// Decoding with weights that memory has no room for, 3.9 GB of random Q4_0 in the shape of
// Mistral's 7 billion: layers streamed past the page cache, or mapped and left to the kernel's
// paging (which a control group makes as small: streaming.py). In the same process, in turn, what
// the disk gives to direct reads of the same bytes. Under a cap with room for all: what computing
// takes. One JSON object a line.
//   stream_bench FOLDER [streamed|mapped] [cap MB=1500] [batch=64] [rounds=3] [threads=2]
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <memory>
#include <numeric>
#include <string>
#include <vector>

#include "benchmarks/inference/random_model.h"
#include "hydrofoil/core/error.h"
#include "hydrofoil/core/host.h"
#include "hydrofoil/core/parallel.h"
#include "hydrofoil/inference/layer_stream.h"
#include "hydrofoil/inference/runner.h"

namespace {

using namespace hydrofoil;
using namespace hydrofoil::inference;
using namespace hydrofoil::benchmarks;
using Clock = std::chrono::steady_clock;

constexpr int64_t kBehind = 16, kPositions = 32;  // of each text
constexpr size_t kBuffer = size_t{16} << 20;      // of direct reads
constexpr uint64_t kKernel = 16'000'000;          // that a control group counts beside: page tables

// The streamed file, and the page cache between it and the step.
class Mapped final : public WeightSource {
 public:
  explicit Mapped(const LayerStream& stream, size_t layers) : map_(stream.file()) {
    for (size_t layer = 0; layer < layers; ++layer) offsets_.push_back(stream.offset_of(layer));
  }
  const std::byte* acquire(size_t layer) override { return map_.bytes().data() + offsets_[layer]; }
  void release(size_t) override {}

 private:
  io::MappedFile map_;
  std::vector<uint64_t> offsets_;
};

double seconds_of(const std::function<void()>& work) {
  const auto start = Clock::now();
  work();
  return std::chrono::duration<double>(Clock::now() - start).count();
}

double median(std::vector<double> values) {
  std::ranges::sort(values);
  return values[values.size() / 2];
}

struct Arguments {
  std::string folder, mode = "streamed";
  uint64_t cap_bytes = 1'500'000'000;
  size_t batch = 64;
  int rounds = 3, threads = 2;
};

class Bench {
 public:
  explicit Bench(const Arguments& a)
      : a_(a),
        spec_(spec::model_spec_from_hf(kShapes.at("mistral"), "mistral")),
        team_(a.threads),
        cache_(spec_, DType::kBF16, a.batch * KvCache::pages_for(kPositions)),
        load_start_(Clock::now()),
        model_(load()),
        load_seconds_(std::chrono::duration<double>(Clock::now() - load_start_).count()),
        runner_(model_, cache_, team_, a.batch) {}

  void run() {
    std::vector<double> steps, reads;
    step();  // touches what steps need
    const auto peak = static_cast<double>(host::process_memory().peak_rss_bytes);
    for (int round = 0; round < a_.rounds; ++round) {
      steps.push_back(seconds_of([&] { step(); }));
      if (stream_) reads.push_back(seconds_of([&] { read(stream_->file()); }));
    }
    const auto& r = model_.residency;
    const double seconds = median(steps), bytes = static_cast<double>(r.pass_bytes);
    std::printf(
        "{\"mode\": \"%s\", \"weights_gb\": %.3f, \"layers\": %zu, \"streamed_layers\": %zu, "
        "\"pass_gb\": %.3f, \"load_seconds\": %.1f, \"batch\": %zu, \"step_seconds\": %.3f, "
        "\"tokens_per_second\": %.2f, "
        "\"pass_gb_per_s\": %.3f, \"peak_rss_mb\": %.0f",
        a_.mode.c_str(), 1e-9 * static_cast<double>(model_.weight_bytes().total()), r.layers,
        r.streamed, 1e-9 * bytes, load_seconds_, a_.batch, seconds,
        static_cast<double>(a_.batch) / seconds, 1e-9 * bytes / seconds, 1e-6 * peak);
    if (!reads.empty()) {
      const double direct = static_cast<double>(stream_->file().size_bytes()) / median(reads);
      std::printf(", \"disk_gb_per_s\": %.3f, \"share_of_disk\": %.3f", 1e-9 * direct,
                  bytes / seconds / direct);
    }
    std::printf("}\n");
  }

 private:
  PackedModel load() {
    const RandomRows reader;
    const PackedModel outline = outline_model(spec_, reader);
    const uint64_t beside =
        host::process_memory().rss_bytes + cache_.bytes() + 2 * kBuffer + kKernel +
        Runner::scratch_bytes_of(outline, {.tokens = a_.batch,
                                           .rows = a_.batch,
                                           .threads = static_cast<size_t>(a_.threads),
                                           .positions = kPositions});
    const bool mapped = a_.mode == "mapped";
    const auto residency =
        mapped ? least_residency(outline, 2)
               : residency_within(outline, a_.cap_bytes - std::min(a_.cap_bytes, beside));
    if (!residency) throw Error(ExitCode::kDoesNotFit, "one layer at a time is too much");
    PackedModel model = pack_model(spec_, reader, WeightType::kAsStored,
                                   {.residency = *residency, .folder = a_.folder});
    stream_ = dynamic_cast<const LayerStream*>(model.source.get());
    if (mapped) {
      model.source = std::make_unique<Mapped>(*stream_, residency->layers);
      stream_ = nullptr;
    }
    return model;
  }

  void step() {
    const int32_t token = 7;
    std::vector<std::vector<Page>> pages(a_.batch,
                                         std::vector<Page>(KvCache::pages_for(kPositions)));
    std::vector<SequencePart> parts;
    Page next = 0;
    for (auto& of_text : pages) {
      std::iota(of_text.begin(), of_text.end(), next);
      next += static_cast<Page>(of_text.size());
      parts.push_back({.tokens = {&token, 1}, .position = kBehind, .pages = of_text});
    }
    runner_.run(parts);
  }

  // All of it, as layers are: two buffers in turn.
  static void read(const io::File& file) {
    io::AsyncIo io;
    const Aligned<std::byte> buffers[] = {Aligned<std::byte>(kBuffer), Aligned<std::byte>(kBuffer)};
    io::Transfer transfers[2];
    size_t turn = 0;
    for (uint64_t at = 0; at < file.size_bytes(); at += kBuffer, turn = 1 - turn) {
      transfers[turn].wait();
      const size_t size = std::min<uint64_t>(kBuffer, file.size_bytes() - at);
      transfers[turn] = io.read(file, at, buffers[turn].span().first(size));
    }
    for (const auto& transfer : transfers) transfer.wait();
  }

  const Arguments a_;
  const spec::ModelSpec spec_;
  Team team_;
  KvCache cache_;
  const LayerStream* stream_ = nullptr;
  const Clock::time_point load_start_;
  PackedModel model_;
  const double load_seconds_;
  Runner runner_;
};

}  // namespace

int main(int argc, char** argv) {
  Arguments a;
  const auto number = [&](int at, long otherwise) {
    return argc > at ? std::atol(argv[at]) : otherwise;
  };
  if (argc > 1) a.folder = argv[1];
  if (argc > 2) a.mode = argv[2];
  a.cap_bytes = static_cast<uint64_t>(number(3, 1500)) * 1'000'000;
  a.batch = static_cast<size_t>(number(4, 64));
  a.rounds = static_cast<int>(number(5, 3)), a.threads = static_cast<int>(number(6, 2));
  if (a.folder.empty() || (a.mode != "streamed" && a.mode != "mapped") || a.batch < 1) {
    std::fprintf(stderr,
                 "stream_bench FOLDER [streamed|mapped] [cap MB=1500] [batch=64] [rounds=3] "
                 "[threads=2]\n");
    return 2;
  }
  set_compute_threads(a.threads);
  try {
    Bench(a).run();
  } catch (const Error& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return static_cast<int>(error.code());
  }
}
