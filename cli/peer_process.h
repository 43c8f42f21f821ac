// SPDX-License-Identifier: Apache-2.0
// A program that does one piece of work for each line it reads, and answers with a line of JSON.
#pragma once

#include <sys/types.h>

#include <cstdio>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace hydrofoil::cli {

class PeerProcess {
 public:
  // Its standard error goes into the file `errors`, which stays only where an answer fails.
  PeerProcess(std::vector<std::string> command, const std::string& errors);
  ~PeerProcess();  // lets it end
  PeerProcess(const PeerProcess&) = delete;
  PeerProcess& operator=(const PeerProcess&) = delete;

  nlohmann::json ask();
  // Asks for no more: its last line.
  nlohmann::json finish();
  // Its next line. Error with the last error it told of where it has ended.
  nlohmann::json answer();

 private:
  const std::string errors_;
  bool failed_ = false;
  pid_t pid_ = -1;
  std::FILE *in_ = nullptr, *out_ = nullptr;  // its standard input and output
};

}  // namespace hydrofoil::cli
