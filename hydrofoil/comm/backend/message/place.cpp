// SPDX-License-Identifier: Apache-2.0
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <fstream>
#include <numeric>
#include <sstream>
#include <utility>

#include "hydrofoil/comm/backend/message/message_backend.h"

namespace hydrofoil::comm {
namespace {

Place own_place() {
  std::array<char, 65> name{};
  gethostname(name.data(), name.size() - 1);
  std::string boot = "unknown";
  std::ifstream("/proc/sys/kernel/random/boot_id") >> boot;
  struct stat network = {};
  stat("/proc/self/ns/net", &network);
  return {getpid(), name[0] ? name.data() : "unknown", boot + "-" + std::to_string(network.st_ino)};
}

std::string label_of(int rank, const Place& place, bool name_host) {
  return "rank " + std::to_string(rank) + " (pid " + std::to_string(place.pid) +
         (name_host ? " on " + place.host : "") + ")";
}

}  // namespace

MessageJob join_by_messages(std::unique_ptr<Transport> transport, MessageOptions options) {
  std::vector<int> ranks(static_cast<size_t>(transport->size()));
  std::iota(ranks.begin(), ranks.end(), 0);
  auto world = std::make_shared<MessageWorld>(std::move(transport), std::move(options));
  MessageJob job{std::make_unique<MessageBackend>(world, "world", ranks, 1), {}};
  const Place own = own_place();
  Call call;
  call.record.op = Operation::kSplit;
  set_text(call.record.group, "world");
  set_text(call.record.name, "rendezvous");
  for (const auto& text : job.backend->gather_texts(
           call, std::to_string(own.pid) + " " + own.host + " " + own.token)) {
    Place place;
    std::istringstream(text) >> place.pid >> place.host >> place.token;
    job.places.push_back(std::move(place));
  }
  const bool several = std::any_of(job.places.begin(), job.places.end(),
                                   [&](const Place& place) { return place.token != own.token; });
  std::vector<std::string> labels;
  for (const int r : ranks)
    labels.push_back(label_of(r, job.places[static_cast<size_t>(r)], several));
  world->set_labels(std::move(labels));
  return job;
}

}  // namespace hydrofoil::comm
