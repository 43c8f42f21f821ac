// SPDX-License-Identifier: Apache-2.0
// N ranks as forked processes of the test, connected through shared memory.
#pragma once

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <functional>
#include <string>
#include <vector>

#include "hydrofoil/comm/backend/shm/shm_world.h"
#include "hydrofoil/core/parallel.h"

namespace hydrofoil::comm::test {

class Processes {
 public:
  using Join = std::function<Communicator(const std::string& job, int rank, int ranks,
                                          std::chrono::milliseconds timeout)>;
  static Communicator over_shm(const std::string& job, int rank, int ranks,
                               std::chrono::milliseconds timeout) {
    return join_shm(job, rank, ranks, {.timeout = timeout});
  }

  Processes(int ranks, const std::function<void(Communicator)>& body,
            std::chrono::milliseconds timeout, const Join& join = over_shm) {
    static int jobs = 0;
    const std::string job = "test-" + std::to_string(getpid()) + "-" + std::to_string(++jobs);
    std::fflush(nullptr);
    for (int r = 0; r < ranks; ++r) {
      const pid_t parent = getpid();
      const pid_t pid = fork();
      if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent) _exit(1);
        _exit(child(r, body, [&] { return join(job, r, ranks, timeout); }));
      }
      pids_.push_back(pid);
    }
  }
  Processes(const Processes&) = delete;
  Processes& operator=(const Processes&) = delete;
  ~Processes() {
    for (size_t r = 0; r < pids_.size(); ++r)
      if (pids_[r] > 0) {
        kill(pids_[r], SIGKILL);
        wait(static_cast<int>(r));
      }
  }

  pid_t pid(int rank) const { return pids_[static_cast<size_t>(rank)]; }
  // Exit code, or 256 + the signal that ended it.
  int wait(int rank) {
    int status = 0;
    waitpid(pid(rank), &status, 0);
    pids_[static_cast<size_t>(rank)] = -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 256 + WTERMSIG(status);
  }

 private:
  static int child(int rank, const std::function<void(Communicator)>& body,
                   const std::function<Communicator()>& join) {
    set_compute_threads(1);
    try {
      body(join());
    } catch (const std::exception& error) {
      ADD_FAILURE() << "rank " << rank << ": " << error.what();
    }
    std::fflush(nullptr);
    return ::testing::Test::HasFailure() ? 1 : 0;
  }

  std::vector<pid_t> pids_;
};

}  // namespace hydrofoil::comm::test
