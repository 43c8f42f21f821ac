// SPDX-License-Identifier: Apache-2.0
// Starts the program as users do, watches it, interferes with it.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

namespace hydrofoil::test {

struct Ended {
  int code = -1;  // exit code, or 128 + the signal that ended it
  std::string out, err;
};

class Process {
 public:
  // `environment`: NAME=VALUE, beside the test's own. `before` runs in the child, just before the
  // program. The process dies with the test.
  Process(const std::vector<std::string>& arguments,
          const std::vector<std::string>& environment = {},
          const std::function<void()>& before = {});
  ~Process();  // kills what still runs
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  pid_t pid() const { return pid_; }
  std::vector<pid_t> children() const;
  std::string out_so_far() const;
  std::string err_so_far() const;
  // Waits until standard error contains a text; false when the process ended, or after the time.
  bool wait_for(const std::string& text,
                std::chrono::seconds limit = std::chrono::seconds(60)) const;
  Ended wait(std::chrono::seconds limit = std::chrono::seconds(120));

 private:
  std::filesystem::path folder_;
  pid_t pid_ = -1;
  mutable int status_ = 0;
  mutable bool ended_ = false;
  bool poll() const;
};

// Arguments in, everything out.
Ended hydrofoil(const std::vector<std::string>& arguments,
                const std::vector<std::string>& environment = {});

// Whether a process is there and no zombie.
bool alive(pid_t pid);

}  // namespace hydrofoil::test
