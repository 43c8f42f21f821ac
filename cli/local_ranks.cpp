// SPDX-License-Identifier: Apache-2.0
#include "cli/local_ranks.h"

#include <fstream>
#include <string>
#include <vector>

#include "hydrofoil/comm/launch.h"
#include "hydrofoil/comm/supervisor.h"
#include "hydrofoil/comm/world.h"
#include "hydrofoil/core/error.h"
#include "hydrofoil/core/log.h"

namespace hydrofoil::cli {
namespace {

std::vector<std::string> own_command_line() {
  std::ifstream in("/proc/self/cmdline", std::ios::binary);
  std::vector<std::string> words;
  for (std::string word; std::getline(in, word, '\0');) words.push_back(word);
  return words;
}

}  // namespace

int ranks_of_job(int asked) {
  const auto environment = comm::detect(comm::process_environment());
  return environment.size > 1 ? environment.size : asked;
}

int run_on_ranks(int asked, const std::string& backend,
                 const std::function<int(const comm::Communicator&)>& body) {
  const auto environment = comm::detect(comm::process_environment());
  comm::choose_backend(environment, backend);  // what cannot work is said once
  if (environment.size == 1 && asked > 1)
    return comm::supervise(
        {.ranks = asked, .argv = own_command_line(), .environment = {}, .program = {}});
  if (environment.rank > 0)
    log::configure(log::Level::kQuiet, "rank " + std::to_string(environment.rank));
  const auto world = comm::connect(environment, {.backend = backend});
  try {
    return body(world);
  } catch (const Error& error) {
    world.abort(error.line());  // wakes ranks that wait for this one
    throw;
  }
}

}  // namespace hydrofoil::cli
