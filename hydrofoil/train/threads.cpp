// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/train/threads.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <fstream>
#include <string>

#include "hydrofoil/core/host.h"
#include "hydrofoil/core/parallel.h"

namespace hydrofoil::train {

int64_t local_ranks(const comm::Communicator& group) {
  std::string host;
  std::ifstream("/proc/sys/kernel/random/boot_id") >> host;
  const auto hosts = group.all_gather_text(host, {comm::Purpose::kControl, "hosts"});
  return std::count(hosts.begin(), hosts.end(), host);
}

void set_threads(int threads) {
  at::set_num_threads(threads);
  set_compute_threads(threads);
}

void use_threads(const comm::Communicator& group, int64_t configured) {
  const int64_t share = std::max<int64_t>(1, host::usable_cores() / local_ranks(group));
  set_threads(static_cast<int>(configured > 0 ? configured : share));
}

}  // namespace hydrofoil::train
