// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/comm/world.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <filesystem>
#include <optional>
#include <utility>
#include <vector>

#include "hydrofoil/comm/backend/hierarchical/hierarchical_backend.h"
#include "hydrofoil/comm/backend/shm/shm_world.h"
#include "hydrofoil/comm/backend/thread/thread_world.h"
#include "hydrofoil/comm/group.h"
#include "hydrofoil/comm/module.h"
#include "hydrofoil/core/error.h"
#include "hydrofoil/core/host.h"

namespace hydrofoil::comm {
namespace {

std::chrono::milliseconds time_of(const char* variable, const Lookup& lookup,
                                  std::chrono::milliseconds otherwise) {
  const auto text = lookup(variable);
  if (!text) return otherwise;
  double seconds = 0;
  const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), seconds);
  constexpr double kYear = 366.0 * 24 * 3600;
  if (error != std::errc() || end != text->data() + text->size() || !(seconds > 0) ||
      seconds > kYear)
    throw Error(ExitCode::kConfig, "'" + *text + "' is not a number of seconds above 0", variable);
  return std::chrono::milliseconds(static_cast<int64_t>(std::ceil(seconds * 1000)));
}

constexpr const char* kVariable = "HYDROFOIL_COMM_BACKEND";
constexpr int kDefaultPort = 29500;  // DeepSpeed's and torchrun's

struct Times {
  std::chrono::milliseconds timeout, rendezvous;
};

bool on_one_host(const LaunchEnvironment& environment) {
  return environment.local_size == environment.size;
}

// What the data goes over between hosts.
std::string network_of(const std::string& backend) {
  return backend.substr(backend.find('+') + 1);
}

void require_known(const std::string& wish, const std::string& where) {
  if (std::find(kBackends.begin(), kBackends.end(), wish) != kBackends.end()) return;
  std::string all;
  for (const char* name : kBackends) all.append(all.empty() ? "" : ", ").append(name);
  throw Error(ExitCode::kConfig, "there is no comm backend '" + wish + "'", where, "use " + all);
}

TransportRequest request_of(const LaunchEnvironment& e, const std::string& network,
                            std::chrono::milliseconds timeout) {
  TransportRequest request{
      .rank = e.rank, .size = e.size, .local_rank = e.local_rank, .job = e.job, .address = {}};
  request.store_of_launcher = e.store_of_launcher;
  request.rendezvous_timeout = timeout;
  if (on_one_host(e) && !e.store_of_launcher) return request;
  if (e.address.empty() && network != "mpi")
    throw Error(ExitCode::kConfig,
                "nothing says where rank 0 is: " + e.launcher + " started " +
                    std::to_string(e.size) + " ranks on several hosts and MASTER_ADDR is not set",
                "comm backend " + network,
                "set MASTER_ADDR (and MASTER_PORT) for all ranks: mpirun -x MASTER_ADDR=host");
  request.address = e.address;
  request.port = e.port > 0 ? e.port : kDefaultPort;
  return request;
}

Communicator make(std::unique_ptr<Backend> backend, std::string carrier) {
  return Communicator(
      std::make_shared<Group>(std::move(backend), std::make_shared<Meter>(), std::move(carrier)));
}

// By rank: the first rank on the same host. Empty where the ranks of a host are not consecutive:
// then there is no order in which hosts could work one after the other.
std::vector<int> hosts_of(const std::vector<Place>& places) {
  std::vector<int> hosts;
  for (size_t r = 0; r < places.size(); ++r) {
    const auto first = std::find_if(places.begin(), places.end(), [&](const Place& place) {
      return place.token == places[r].token;
    });
    hosts.push_back(static_cast<int>(first - places.begin()));
    if (r > 0 && hosts[r] < hosts[r - 1]) return {};
  }
  return hosts;
}

struct NamedJob {
  std::string network;
  MessageJob job;
};

NamedJob join_network(const std::string& network, const LaunchEnvironment& e, const Times& times) {
  return {network,
          join_by_messages(open_transport(network, request_of(e, network, times.rendezvous)),
                           {.timeout = times.timeout})};
}

// Shared memory inside hosts, and the jobs (the same ranks over several networks).
Communicator connect_hosts(std::vector<NamedJob> jobs, const LaunchEnvironment& e,
                           std::string carrier, const Times& times,
                           std::optional<Tuning> tuning = {}) {
  const auto hosts = hosts_of(jobs.front().job.places);
  if (hosts.empty()) return make(std::move(jobs.front().job.backend), jobs.front().network);
  const int first = hosts[static_cast<size_t>(e.rank)];
  const auto here = static_cast<int>(std::count(hosts.begin(), hosts.end(), first));
  const auto world = jobs.front().job.backend->world();
  try {
    auto local = join_shm_backend(
        e.job + "-host-" + std::to_string(first), e.rank - first, here,
        {.rendezvous_timeout = times.rendezvous, .timeout = times.timeout, .first_rank = first});
    std::vector<Network> networks;
    for (auto& [network, job] : jobs) networks.push_back({network, std::move(job.backend)});
    return make(std::make_unique<HierarchicalBackend>(std::move(networks), std::move(local), hosts,
                                                      std::move(tuning)),
                std::move(carrier));
  } catch (const Error& error) {
    world->record_failure(error);
    throw;
  }
}

std::filesystem::path cache_folder(const Lookup& lookup) {
  const auto set = lookup("XDG_CACHE_HOME"), home = lookup("HOME");
  if (set && set->starts_with('/')) return std::filesystem::path(*set) / "hydrofoil";
  if (home && home->starts_with('/')) return std::filesystem::path(*home) / ".cache" / "hydrofoil";
  return {};
}

// Every network that reaches all ranks, and what is measured depends on.
std::vector<std::string> networks_to_try(const LaunchEnvironment& e, std::string& machine) {
  std::vector<std::string> names;
  for (const BackendFact& fact : backends()) {
    const bool gloo = fact.name == "gloo" && (on_one_host(e) || !e.address.empty());
    const bool mpi = fact.name == "mpi" && e.launcher == "Open MPI";
    if (!fact.available || !(gloo || mpi)) continue;
    names.push_back(fact.name);
    machine += "; " + fact.detail;
  }
  if (names.empty() && !on_one_host(e)) names.emplace_back("gloo");  // which says what is missing
  return names;
}

bool takes_only_shm(const std::string& choices) {
  const std::array<std::string, 1> shm{"shm"};
  return Choices::parse(choices, shm).has_value();
}

// On one host shared memory alone, once it is known to be the quickest for everything: networks
// that are open take time though nobody uses them.
Communicator connect_tuned(const LaunchEnvironment& e, const Times& times, const Lookup& lookup) {
  Tuning tuning{.machine = "hydrofoil choices 1; " + host::cpu_model() + "; cores " +
                           std::to_string(host::usable_cores()),
                .store = std::make_shared<ChoiceStore>(cache_folder(lookup))};
  const auto networks = networks_to_try(e, tuning.machine);
  Communicator shm;
  if (on_one_host(e)) {
    shm = join_shm(e.job, e.rank, e.size,
                   {.rendezvous_timeout = times.rendezvous, .timeout = times.timeout});
    std::vector<std::string> ways{"shm"};
    ways.insert(ways.end(), networks.begin(), networks.end());
    const std::array<int, 1> ranks{e.size};
    const auto known = tuning.store->find(choices_key(tuning.machine, ranks, ways));
    uint8_t enough = networks.empty() || takes_only_shm(known.value_or("")) ? 1 : 0;
    shm.broadcast({&enough, 1, DType::kU8}, 0, {Purpose::kControl, "choosing backends"});
    if (enough) return shm;
  }
  std::vector<NamedJob> jobs;
  std::string carrier = "tuned shm";
  for (const std::string& network : networks) {
    jobs.push_back(join_network(network, e, times));
    carrier += ", " + network;
  }
  auto all = connect_hosts(std::move(jobs), e, std::move(carrier), times, std::move(tuning));
  return shm && takes_only_shm(all.choices()) ? shm : all;
}

}  // namespace

std::string choose_backend(const LaunchEnvironment& environment, const std::string& wish,
                           const Lookup& lookup) {
  require_known(wish, "comm backend");
  const std::string set = lookup(kVariable).value_or("auto");
  require_known(set, kVariable);
  if (environment.size == 1) return "thread";
  const std::string asked = wish == "auto" ? set : wish;
  if (asked == "auto" && on_one_host(environment)) return "shm";
  if (asked == "auto") return environment.launcher == "Open MPI" ? "shm+mpi" : "shm+gloo";
  if (asked == "shm" && !on_one_host(environment))
    throw Error(ExitCode::kConfig,
                std::to_string(environment.size) + " ranks were started by " +
                    environment.launcher + ", " + std::to_string(environment.local_size) +
                    " of them on this host: shared memory does not reach the others",
                "comm backend shm", "use auto, shm+gloo or shm+mpi");
  return asked;
}

Communicator connect(const LaunchEnvironment& environment, const ConnectOptions& options,
                     const Lookup& lookup) {
  const Times times{
      time_of("HYDROFOIL_COMM_TIMEOUT_SECONDS", lookup, options.timeout),
      time_of("HYDROFOIL_RENDEZVOUS_TIMEOUT_SECONDS", lookup, options.rendezvous_timeout)};
  const std::string backend = choose_backend(environment, options.backend, lookup);
  if (backend == "thread") return ThreadWorld(1, times.timeout).rank(0);
  if (backend == "shm")
    return join_shm(environment.job, environment.rank, environment.size,
                    {.rendezvous_timeout = times.rendezvous, .timeout = times.timeout});
  if (backend == "tuned") return connect_tuned(environment, times, lookup);
  const std::string network = network_of(backend);
  auto joined = join_network(network, environment, times);
  if (backend == network) return make(std::move(joined.job.backend), backend);
  std::vector<NamedJob> jobs;
  jobs.push_back(std::move(joined));
  return connect_hosts(std::move(jobs), environment, backend, times);
}

}  // namespace hydrofoil::comm
