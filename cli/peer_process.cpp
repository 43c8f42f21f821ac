// SPDX-License-Identifier: Apache-2.0
#include "cli/peer_process.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <cstdlib>
#include <fstream>
#include <utility>

#include "hydrofoil/core/error.h"

namespace hydrofoil::cli {
namespace {

struct Pipe {
  Pipe() {
    if (::pipe2(ends.data(), O_CLOEXEC) != 0)
      throw Error(ExitCode::kError, errno_message("cannot make a pipe"));
  }
  std::array<int, 2> ends{};  // to read, to write
};

// The last error it told of, else its last line: launchers end with frames of their own.
std::string last_words(const std::string& path) {
  std::ifstream file(path);
  std::string error, last;
  for (std::string line; std::getline(file, line);) {
    if (line.find("Error: ") != std::string::npos) error = line;
    if (!line.empty()) last = line;
  }
  return error.empty() ? last : error;
}

}  // namespace

PeerProcess::PeerProcess(std::vector<std::string> command, const std::string& errors)
    : errors_(errors) {
  std::vector<char*> words;
  for (auto& word : command) words.push_back(word.data());
  words.push_back(nullptr);
  const Pipe in, out;
  pid_ = ::fork();
  if (pid_ < 0) throw Error(ExitCode::kError, errno_message("cannot start a process"));
  if (pid_ == 0) {
    const int to = ::open(errors.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
    ::dup2(in.ends[0], STDIN_FILENO), ::dup2(out.ends[1], STDOUT_FILENO), ::dup2(to, STDERR_FILENO);
    ::execv(words.front(), words.data());
    ::_exit(127);
  }
  ::close(in.ends[0]), ::close(out.ends[1]);
  in_ = ::fdopen(in.ends[1], "w"), out_ = ::fdopen(out.ends[0], "r");
  std::signal(SIGPIPE, SIG_IGN);  // one that has ended is an error, not our end
}

PeerProcess::~PeerProcess() {
  if (in_) std::fclose(in_);
  std::fclose(out_);
  ::waitpid(pid_, nullptr, 0);
  if (!failed_) ::unlink(errors_.c_str());
}

nlohmann::json PeerProcess::ask() {
  std::fputs("\n", in_);
  std::fflush(in_);
  return answer();
}

nlohmann::json PeerProcess::finish() {
  std::fclose(std::exchange(in_, nullptr));
  return answer();
}

// Lines that are no JSON are its libraries' chatter.
nlohmann::json PeerProcess::answer() {
  char* line = nullptr;
  size_t room = 0;
  nlohmann::json result = nlohmann::json::value_t::discarded;
  while (!result.is_object() && ::getline(&line, &room, out_) > 0)
    result = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
  std::free(line);
  if (result.is_object()) return result;
  failed_ = true;
  throw Error(ExitCode::kError, "it ended: " + last_words(errors_), errors_,
              "this file has all it said");
}

}  // namespace hydrofoil::cli
