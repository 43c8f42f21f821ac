// SPDX-License-Identifier: Apache-2.0
// Errors of the whole product: what happened, where, what to do next, and the exit code it means.
#pragma once

#include <stdexcept>
#include <string>
#include <utility>

namespace hydrofoil {

// An API: docs/errors.md. Scripts rely on these numbers.
enum class ExitCode : int {
  kOk = 0,
  kError = 1,
  kUsage = 2,
  kConfig = 3,
  kDoesNotFit = 4,
  kData = 5,
  kCheckpoint = 6,
  kNumeric = 7,
  kTimeout = 8,
  kPeerFailed = 9,
  kRetryLater = 75,    // SIGTERM, answered by a save
  kInterrupted = 130,  // Ctrl-C
};

// The one exception type that reaches a user. `where` is a file:line:column, a key, a tensor or a
// rank; `hint` is the next step. Both may be empty. Broken invariants of our own are
// std::logic_error.
class Error : public std::runtime_error {
 public:
  Error(ExitCode code, const std::string& message, std::string where = {}, std::string hint = {})
      : std::runtime_error(message),
        code_(code),
        where_(std::move(where)),
        hint_(std::move(hint)) {}

  ExitCode code() const { return code_; }
  const std::string& where() const { return where_; }
  const std::string& hint() const { return hint_; }

  // "where: message (hint)", as printed after "hydrofoil: error: ".
  std::string line() const;

 private:
  ExitCode code_;
  std::string where_, hint_;
};

// "open: No such file or directory" for the current errno.
std::string errno_message(const char* what);

}  // namespace hydrofoil
