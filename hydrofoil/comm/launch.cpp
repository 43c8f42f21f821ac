// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/comm/launch.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdlib>
#include <limits>

#include "hydrofoil/core/error.h"

namespace hydrofoil::comm {
namespace {

[[noreturn]] void fail(const std::string& message) {
  throw Error(ExitCode::kConfig, message, "launch environment",
              "unset these variables, or start all ranks with one launcher");
}

class Variables {
 public:
  explicit Variables(const Lookup& lookup) : lookup_(lookup) {}

  bool has(std::string_view name) const { return lookup_(name).has_value(); }
  std::string text(std::string_view name) const { return lookup_(name).value_or(""); }

  std::optional<int> optional_number(std::string_view name) const {
    const auto value = lookup_(name);
    if (!value) return std::nullopt;
    int number = 0;
    const char* end = value->data() + value->size();
    const auto [stop, error] = std::from_chars(value->data(), end, number);
    if (error != std::errc() || stop != end || number < 0)
      fail(std::string(name) + "='" + *value + "' is not a number of ranks");
    return number;
  }
  int number(std::string_view name, std::string_view because) const {
    const auto value = optional_number(name);
    if (!value) fail(std::string(because) + " is set but " + std::string(name) + " is not");
    return *value;
  }

 private:
  const Lookup& lookup_;
};

// The variables in which a launcher says who a process is.
struct Names {
  std::string_view launcher, rank, size, local_rank, local_size;
};

constexpr Names kOwn{"hydrofoil", kRankVariable, kSizeVariable, "", ""};
constexpr Names kTorchrun{"torchrun", "RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"};
constexpr Names kOpenMpi{"Open MPI", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE",
                         "OMPI_COMM_WORLD_LOCAL_RANK", "OMPI_COMM_WORLD_LOCAL_SIZE"};
constexpr Names kMvapich{"MVAPICH2", "MV2_COMM_WORLD_RANK", "MV2_COMM_WORLD_SIZE",
                         "MV2_COMM_WORLD_LOCAL_RANK", "MV2_COMM_WORLD_LOCAL_SIZE"};
constexpr Names kPmi{"PMI", "PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID", "MPI_LOCALNRANKS"};
constexpr Names kSlurm{"Slurm", "SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID", ""};

LaunchEnvironment read(const Variables& variables, const Names& names) {
  LaunchEnvironment e;
  e.launcher = names.launcher;
  e.rank = variables.number(names.rank, names.size);
  e.size = variables.number(names.size, names.rank);
  if (e.size < 1 || e.rank >= e.size)
    fail(std::string(names.rank) + "=" + std::to_string(e.rank) + " contradicts " +
         std::string(names.size) + "=" + std::to_string(e.size));
  const auto local = [&](std::string_view name, int otherwise) {
    return name.empty() ? otherwise : variables.optional_number(name).value_or(otherwise);
  };
  // Without local figures all ranks are taken to be here: the rendezvous finds out.
  e.local_size = local(names.local_size, e.size);
  e.local_rank = local(names.local_rank, e.rank);
  if (e.local_size > e.size || e.local_size < 1)
    fail(std::string(names.local_size) + "=" + std::to_string(e.local_size) + " contradicts " +
         std::string(names.size) + "=" + std::to_string(e.size));
  if (e.local_rank >= e.local_size)
    fail(std::string(names.local_rank) + "=" + std::to_string(e.local_rank) + " contradicts " +
         (names.local_size.empty() ? "the tasks of this node" : std::string(names.local_size)) +
         ": " + std::to_string(e.local_size) + " ranks here");
  e.address = variables.text("MASTER_ADDR");
  const int port = variables.optional_number("MASTER_PORT").value_or(0);
  if (port > std::numeric_limits<uint16_t>::max())
    fail("MASTER_PORT=" + std::to_string(port) + " is not a port");
  e.port = port;
  return e;
}

LaunchEnvironment own(const Variables& v) {
  auto e = read(v, kOwn);
  if (!v.has(kJobVariable)) fail(std::string(kRankVariable) + " is set but HYDROFOIL_JOB is not");
  return e;
}

LaunchEnvironment torchrun(const Variables& v) {
  auto e = read(v, kTorchrun);
  e.job = "torchrun-" + v.text("TORCHELASTIC_RUN_ID") + "-" + v.text("TORCHELASTIC_RESTART_COUNT") +
          "-" + v.text("MASTER_ADDR") + "-" + v.text("MASTER_PORT");
  e.store_of_launcher = v.text("TORCHELASTIC_USE_AGENT_STORE") == "True";
  return e;
}

LaunchEnvironment open_mpi(const Variables& v) {
  auto e = read(v, kOpenMpi);
  const bool pmix = v.has("PMIX_NAMESPACE");
  e.job = "openmpi-" + v.text(pmix ? "PMIX_NAMESPACE" : "OMPI_MCA_ess_base_jobid");
  if (v.has("PMIX_RANK") && v.number("PMIX_RANK", kOpenMpi.rank) != e.rank)
    fail("OMPI_COMM_WORLD_RANK=" + std::to_string(e.rank) +
         " contradicts PMIX_RANK=" + v.text("PMIX_RANK"));
  return e;
}

LaunchEnvironment mvapich(const Variables& v) {
  auto e = read(v, kMvapich);
  e.job = "mvapich-" + v.text("MPIRUN_ID") + "-" + v.text("PMI_PORT");
  return e;
}

LaunchEnvironment pmi(const Variables& v) {
  auto e = read(v, kPmi);
  // Hydra shows no id of the job when it passes PMI_FD: then one job at a time may be starting.
  e.job = "pmi-" + v.text("MPIRUN_ID") + "-" + v.text("PMI_PORT");
  return e;
}

// "4(x2),3": how many tasks run on the node with this index.
int slurm_tasks(const std::string& list, int node) {
  const char* at = list.data();
  const char* const end = at + list.size();
  while (at != end) {
    int tasks = 0, times = 1;
    auto parsed = std::from_chars(at, end, tasks);
    if (parsed.ec == std::errc() && std::string_view(parsed.ptr, end).starts_with("(x")) {
      parsed = std::from_chars(parsed.ptr + 2, end, times);
      if (parsed.ptr != end && *parsed.ptr == ')') ++parsed.ptr;
    }
    const bool separated = parsed.ptr == end || *parsed.ptr == ',';
    if (parsed.ec != std::errc() || !separated || tasks < 1 || times < 1)
      fail("SLURM_TASKS_PER_NODE='" + list + "' cannot be read");
    if (node < times) return tasks;
    node -= times;
    at = parsed.ptr == end ? end : parsed.ptr + 1;
  }
  fail("SLURM_TASKS_PER_NODE='" + list + "' has no node SLURM_NODEID");
}

// "node[07-12,20],login": node07.
std::string first_node(const std::string& list) {
  const size_t bracket = list.find('['), comma = list.find(',');
  if (bracket == std::string::npos || comma < bracket) return list.substr(0, comma);
  const size_t end = list.find_first_of("-,]", bracket);
  return list.substr(0, bracket) + list.substr(bracket + 1, end - bracket - 1);
}

LaunchEnvironment slurm(const Variables& v) {
  auto e = read(v, kSlurm);
  const std::string list = v.has("SLURM_STEP_TASKS_PER_NODE") ? v.text("SLURM_STEP_TASKS_PER_NODE")
                                                              : v.text("SLURM_TASKS_PER_NODE");
  if (!list.empty())
    e.local_size = slurm_tasks(list, v.optional_number("SLURM_NODEID").value_or(0));
  if (e.local_size > e.size || e.local_rank >= e.local_size)
    fail("SLURM_NTASKS=" + std::to_string(e.size) + " and SLURM_LOCALID=" +
         std::to_string(e.local_rank) + " contradict SLURM_TASKS_PER_NODE=" + list);
  e.job = "slurm-" + v.text("SLURM_JOB_ID") + "." + v.text("SLURM_STEP_ID");
  // Slurm names no port: one that follows from the job, above what services and below what clients
  // of the system use.
  constexpr int kFirstPort = 20'000, kPorts = 12'000;
  if (e.address.empty()) e.address = first_node(v.text("SLURM_STEP_NODELIST"));
  if (e.port == 0) e.port = kFirstPort + v.optional_number("SLURM_JOB_ID").value_or(0) % kPorts;
  return e;
}

// A script that sbatch runs has SLURM_NTASKS but is one process: only steps count.
bool in_slurm_step(const Variables& v) {
  return v.has("SLURM_STEP_ID") && v.has("SLURM_PROCID");
}

}  // namespace

Lookup process_environment() {
  return [](std::string_view name) -> std::optional<std::string> {
    const char* value = std::getenv(std::string(name).c_str());
    return value ? std::optional<std::string>(value) : std::nullopt;
  };
}

namespace {

LaunchEnvironment detect_launcher(const Variables& v) {
  const auto either = [&](const Names& names) { return v.has(names.rank) || v.has(names.size); };
  if (either(kOwn)) return own(v);
  if (either(kTorchrun)) return torchrun(v);
  if (either(kOpenMpi)) return open_mpi(v);
  if (either(kMvapich)) return mvapich(v);
  if (either(kPmi)) return pmi(v);
  if (in_slurm_step(v)) return slurm(v);
  LaunchEnvironment alone;
  alone.launcher = "none";
  return alone;
}

}  // namespace

LaunchEnvironment detect(const Lookup& lookup) {
  const Variables v(lookup);
  auto environment = detect_launcher(v);
  if (v.has(kJobVariable)) environment.job = v.text(kJobVariable);
  return environment;
}

}  // namespace hydrofoil::comm
