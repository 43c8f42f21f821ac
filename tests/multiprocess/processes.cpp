// SPDX-License-Identifier: Apache-2.0
#include "processes.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <fstream>
#include <sstream>
#include <stdexcept>
#include <thread>

#include "hydrofoil/io/file.h"

namespace hydrofoil::test {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;
constexpr auto kPoll = std::chrono::milliseconds(5);

std::string content(const fs::path& file) {
  std::ifstream in(file, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

std::vector<char*> pointers(std::vector<std::string>& words) {
  std::vector<char*> result;
  for (auto& word : words) result.push_back(word.data());
  result.push_back(nullptr);
  return result;
}

}  // namespace

Process::Process(const std::vector<std::string>& arguments,
                 const std::vector<std::string>& environment, const std::function<void()>& before)
    : folder_(fs::temp_directory_path() / ("hydrofoil-process-" + io::unique_id())) {
  fs::create_directories(folder_);
  std::vector<std::string> words{HYDROFOIL_PROGRAM};
  words.insert(words.end(), arguments.begin(), arguments.end());
  const auto argv = pointers(words);
  const pid_t test = getpid();
  pid_ = fork();
  if (pid_ != 0) return;
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != test) _exit(127);
  for (const auto& variable : environment) putenv(strdup(variable.c_str()));
  dup2(open((folder_ / "out").c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600), STDOUT_FILENO);
  dup2(open((folder_ / "err").c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600), STDERR_FILENO);
  if (before) before();
  execv(argv[0], argv.data());
  _exit(127);
}

Process::~Process() {
  if (!poll()) {
    kill(pid_, SIGKILL);
    wait();
  }
  fs::remove_all(folder_);
}

bool Process::poll() const {
  if (!ended_ && waitpid(pid_, &status_, WNOHANG) == pid_) ended_ = true;
  return ended_;
}

std::vector<pid_t> Process::children() const {
  std::istringstream list(
      content("/proc/" + std::to_string(pid_) + "/task/" + std::to_string(pid_) + "/children"));
  std::vector<pid_t> pids;
  for (pid_t pid = 0; list >> pid;) pids.push_back(pid);
  return pids;
}

std::string Process::out_so_far() const {
  return content(folder_ / "out");
}
std::string Process::err_so_far() const {
  return content(folder_ / "err");
}

bool Process::wait_for(const std::string& text, std::chrono::seconds limit) const {
  for (const auto end = Clock::now() + limit; Clock::now() < end;
       std::this_thread::sleep_for(kPoll)) {
    if (err_so_far().find(text) != std::string::npos) return true;
    if (poll()) return err_so_far().find(text) != std::string::npos;
  }
  return false;
}

Ended Process::wait(std::chrono::seconds limit) {
  for (const auto end = Clock::now() + limit; !poll() && Clock::now() < end;)
    std::this_thread::sleep_for(kPoll);
  if (!ended_)
    throw std::runtime_error("the process did not end in time; it said: " + err_so_far());
  const int code = WIFEXITED(status_) ? WEXITSTATUS(status_) : 128 + WTERMSIG(status_);
  return {code, out_so_far(), err_so_far()};
}

Ended hydrofoil(const std::vector<std::string>& arguments,
                const std::vector<std::string>& environment) {
  return Process(arguments, environment).wait();
}

bool alive(pid_t pid) {
  std::istringstream stat(content("/proc/" + std::to_string(pid) + "/stat"));
  std::string id, name, state;
  return stat >> id >> name >> state && state != "Z" && state != "X";
}

}  // namespace hydrofoil::test
