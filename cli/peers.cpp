// SPDX-License-Identifier: Apache-2.0
#include "cli/peers.h"

#include <unistd.h>

#include <array>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <optional>
#include <utility>

#include "cli/peer_process.h"
#include "cli/product_type.h"
#include "hydrofoil/core/error.h"
#include "hydrofoil/core/parallel.h"
#include "hydrofoil/train/agreement.h"

namespace hydrofoil::cli {
namespace {

namespace fs = std::filesystem;
constexpr const char* kScript = "train_torch.py";

// Installed beside the library; in the source tree beside the build folder.
fs::path script_path() {
  const fs::path folder = fs::read_symlink("/proc/self/exe").parent_path();
  const std::array places{folder / "lib", folder, folder.parent_path() / "benchmarks/peers"};
  for (const auto& place : places)
    if (fs::exists(place / kScript)) return place / kScript;
  throw Error(ExitCode::kUsage, std::string(kScript) + " is not there, and --against runs it",
              places.front().string(), "copy it there from benchmarks/peers of the sources");
}

// `peer`: rank 0's, null elsewhere. Collective.
monitor::Ratio take_turns(const comm::Communicator& world, PeerProcess* peer, int pairs,
                          train::StepBench& ours) {
  std::vector<std::pair<double, double>> seconds;
  for (int i = 0; i < pairs; ++i) {
    const double mine = train::slowest(world, ours.step());
    const double other = peer ? peer->ask().at("seconds").get<double>() : 0;
    seconds.emplace_back(mine, train::slowest(world, other));
  }
  return monitor::ratio_of_medians(seconds);
}

}  // namespace

std::vector<std::string> default_engines(int ranks) {
  if (ranks == 1) return {"ddp", "compile"};
  return {"ddp", "fsdp2"};
}

std::vector<std::string> peer_command(const std::string& venv, const std::string& engine,
                                      const train::BenchShape& shape,
                                      const train::StepBenchOptions& step, int ranks) {
  const fs::path python = fs::path(venv) / "bin/python";
  if (!fs::exists(python))
    throw Error(ExitCode::kUsage, "there is no bin/python in it", venv,
                "give a virtual environment with torch and transformers (and deepspeed)");
  std::vector<std::string> words{python.string(),
                                 "-m",
                                 "torch.distributed.run",
                                 "--nproc_per_node",
                                 std::to_string(ranks),
                                 script_path().string(),
                                 "--engine",
                                 engine,
                                 "--dtype",
                                 type_name(step.type),
                                 "--config",
                                 std::string(shape.config),
                                 "--length",
                                 std::to_string(shape.sequence_length),
                                 "--sequences",
                                 std::to_string(shape.sequences),
                                 "--steps",
                                 "0"};
  if (!step.files.empty()) words.insert(words.end(), {"--path", step.files.string()});
  return words;
}

void run_peers(const comm::Communicator& world, const PeerOptions& options,
               const train::BenchShape& shape, const train::StepBenchOptions& step,
               train::StepBench& ours, const std::function<void(const PeerResult&)>& on_result) {
  for (const auto& engine : options.engines) {
    PeerResult result{.engine = engine};
    std::optional<PeerProcess> peer;
    if (world.rank() == 0) {
      ::setenv("OMP_NUM_THREADS", std::to_string(compute_threads()).c_str(), 1);
      ::setenv("DS_ACCELERATOR", "cpu", 1);
      peer.emplace(peer_command(options.venv, engine, shape, step, world.size()),
                   (fs::temp_directory_path() /
                    ("hydrofoil-" + engine + "-" + std::to_string(::getpid()) + ".log"))
                       .string());
      try {
        peer->answer();
      } catch (const Error& error) {
        result.problem = error.what();
      }
    }
    if (train::maximum(world, result.problem.empty() ? 0 : 1) == 0)
      result.ratio = take_turns(world, peer ? &*peer : nullptr, options.pairs, ours);
    if (world.rank() == 0) {
      if (result.problem.empty()) result.peak_bytes = peer->finish().at("peak_bytes");
      on_result(result);
    }
  }
}

}  // namespace hydrofoil::cli
