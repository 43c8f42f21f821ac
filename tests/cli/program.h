// SPDX-License-Identifier: Apache-2.0
// Runs the program as a user does.
#pragma once

#include <sys/wait.h>

#include <array>
#include <cstdio>
#include <string>

namespace hydrofoil::cli {

struct Result {
  int code = -1;
  std::string out;
};

// Through the shell, so that a test can redirect: `arguments` follow the program's name.
inline Result hydrofoil(const std::string& arguments, const std::string& before = "") {
  Result result;
  FILE* pipe = popen((before + " '" HYDROFOIL_PROGRAM "' " + arguments).c_str(), "r");
  std::array<char, 4096> chunk;
  for (size_t n; (n = fread(chunk.data(), 1, chunk.size(), pipe)) > 0;)
    result.out.append(chunk.data(), n);
  const int status = pclose(pipe);
  if (WIFEXITED(status)) result.code = WEXITSTATUS(status);
  return result;
}

}  // namespace hydrofoil::cli
