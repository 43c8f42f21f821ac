// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/comm/supervisor.h"

#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstring>
#include <ctime>
#include <filesystem>
#include <optional>

#include "hydrofoil/comm/launch.h"
#include "hydrofoil/core/error.h"
#include "hydrofoil/core/host.h"

extern char** environ;

namespace hydrofoil::comm {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::array kHandled{SIGCHLD, SIGINT, SIGTERM, SIGHUP, SIGTSTP};
constexpr int kCannotExecute = 127;

struct Rank {
  pid_t pid = -1;
  std::optional<int> status;  // as of waitpid, once ended
  bool told_to_end = false;   // by the supervisor, before it ended

  bool running() const { return pid > 0 && !status; }
  bool killed() const { return status && WIFSIGNALED(*status); }
  int code() const { return WEXITSTATUS(*status); }
};

// The handled signals wait to be taken while this lives.
class BlockedSignals {
 public:
  BlockedSignals() {
    sigemptyset(&handled_);
    for (const int signal : kHandled) sigaddset(&handled_, signal);
    pthread_sigmask(SIG_BLOCK, &handled_, &before_);
  }
  BlockedSignals(const BlockedSignals&) = delete;
  BlockedSignals& operator=(const BlockedSignals&) = delete;
  ~BlockedSignals() { restore(); }

  void restore() const { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  // The next signal; 0 when none came before `end`.
  int take(std::optional<Clock::time_point> end) const {
    if (!end) return std::max(0, sigwaitinfo(&handled_, nullptr));
    const auto left = std::max(Clock::duration::zero(), *end - Clock::now());
    const auto ns = std::chrono::duration_cast<std::chrono::nanoseconds>(left).count();
    const timespec limit{ns / 1'000'000'000, ns % 1'000'000'000};
    return std::max(0, sigtimedwait(&handled_, nullptr, &limit));
  }

 private:
  sigset_t handled_, before_;
};

std::string own_executable() {
  std::error_code error;
  const auto path = std::filesystem::read_symlink("/proc/self/exe", error);
  return error || !std::filesystem::exists(path, error) ? "/proc/self/exe" : path.string();
}

std::string fresh_job() {
  return "hydrofoil-" + std::to_string(getpid()) + "-" +
         std::to_string(Clock::now().time_since_epoch().count());
}

std::vector<char*> pointers(std::vector<std::string>& strings) {
  std::vector<char*> result;
  for (auto& s : strings) result.push_back(s.data());
  result.push_back(nullptr);
  return result;
}

class Supervisor {
 public:
  explicit Supervisor(const SupervisorOptions& options)
      : options_(options),
        program_(options.program.empty() ? own_executable() : options.program),
        job_(fresh_job()),
        ranks_(static_cast<size_t>(options.ranks)) {}
  Supervisor(const Supervisor&) = delete;
  Supervisor& operator=(const Supervisor&) = delete;
  ~Supervisor() {
    for (auto& rank : ranks_)
      if (rank.running()) {
        kill(-rank.pid, SIGKILL);
        waitpid(rank.pid, nullptr, 0);
      }
  }

  int run() {
    const auto oom_kills = host::oom_kills();
    for (int r = 0; r < options_.ranks; ++r) start(r);
    while (any_running()) {
      const int signal = signals_.take(next_deadline());
      if (signal == SIGTSTP)
        suspend();
      else if (signal != 0 && signal != SIGCHLD)
        forward(signal);
      reap();
      if (deadline_ && Clock::now() >= *deadline_) end_the_rest();
    }
    return verdict(host::oom_kills() > oom_kills);
  }

 private:
  void start(int rank) {
    std::vector<std::string> environment = options_.environment, argv = options_.argv;
    environment.push_back(std::string(kRankVariable) + "=" + std::to_string(rank));
    environment.push_back(std::string(kSizeVariable) + "=" + std::to_string(options_.ranks));
    environment.push_back(std::string(kJobVariable) + "=" + job_);
    const auto replaced = [&](const char* variable) {
      const std::string name(variable, std::strcspn(variable, "=") + 1);
      return std::any_of(environment.begin(), environment.end(),
                         [&](const std::string& entry) { return entry.starts_with(name); });
    };
    std::vector<std::string> all = environment;
    for (char** entry = environ; *entry; ++entry)
      if (!replaced(*entry)) all.emplace_back(*entry);
    const auto envp = pointers(all), args = pointers(argv);
    const pid_t parent = getpid(), pid = fork();
    if (pid < 0) throw Error(ExitCode::kError, errno_message("fork"), "starting the ranks");
    if (pid == 0) become(parent, args.data(), envp.data());
    setpgid(pid, pid);  // here and there: whoever comes first
    ranks_[static_cast<size_t>(rank)].pid = pid;
  }

  // In the child: only what is allowed between fork and exec.
  [[noreturn]] void become(pid_t parent, char* const* argv, char* const* envp) const {
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(kCannotExecute);  // it died before the line above
    signals_.restore();
    execve(program_.c_str(), argv, envp);
    _exit(kCannotExecute);
  }

  bool any_running() const {
    return std::any_of(ranks_.begin(), ranks_.end(), [](const Rank& r) { return r.running(); });
  }
  std::optional<Clock::time_point> next_deadline() const { return deadline_; }

  void forward(int signal) {
    stop_signal_ = signal;
    for (const auto& rank : ranks_)
      if (rank.running()) kill(-rank.pid, signal);
  }

  void suspend() {
    for (const auto& rank : ranks_)
      if (rank.running()) kill(-rank.pid, SIGSTOP);
    raise(SIGSTOP);  // returns when somebody continues this process
    for (const auto& rank : ranks_)
      if (rank.running()) kill(-rank.pid, SIGCONT);
  }

  // Ended by a signal that was passed on: having answered it, or before it could.
  bool stopped(const Rank& rank) const {
    if (!stop_signal_ || !rank.status) return false;
    if (rank.killed()) return WTERMSIG(*rank.status) == stop_signal_ && !rank.told_to_end;
    const auto code = static_cast<ExitCode>(rank.code());
    return code == ExitCode::kRetryLater || code == ExitCode::kInterrupted;
  }

  // Ended well, as asked, or because a peer ended as asked while this rank still needed it.
  bool in_order(const Rank& rank) const {
    if (stopped(rank)) return true;
    if (rank.killed()) return false;
    const auto code = static_cast<ExitCode>(rank.code());
    return code == ExitCode::kOk ||
           (code == ExitCode::kPeerFailed &&
            std::any_of(ranks_.begin(), ranks_.end(), [&](const Rank& r) { return stopped(r); }));
  }

  void reap() {
    for (auto& rank : ranks_) {
      int status = 0;
      if (!rank.running() || waitpid(rank.pid, &status, WNOHANG) != rank.pid) continue;
      rank.status = status;
      if (!in_order(rank) && !deadline_) deadline_ = Clock::now() + options_.grace;
    }
  }

  void end_the_rest() {
    const int signal = asked_ ? SIGKILL : SIGTERM;
    for (auto& rank : ranks_)
      if (rank.running()) {
        rank.told_to_end = true;
        kill(-rank.pid, signal);
        kill(-rank.pid, SIGCONT);  // a stopped one, too
      }
    asked_ = true;
    deadline_ = Clock::now() + options_.grace;
  }

  // How much a failed rank looks like the cause: what ended by itself comes before what ended
  // because a peer had failed. (Ranks that end within a moment are not seen in their order.) A rank
  // that crashes may be told to end before its crash is seen, while others already name it.
  static int suspicion(const Rank& rank) {
    if (rank.told_to_end) return rank.killed() && !sent(WTERMSIG(*rank.status)) ? 2 : 0;
    if (rank.killed()) return 5;
    switch (static_cast<ExitCode>(rank.code())) {
      case ExitCode::kPeerFailed:
        return 1;
      case ExitCode::kTimeout:
        return 3;
      default:
        return 4;
    }
  }

  static bool sent(int signal) { return signal == SIGTERM || signal == SIGKILL; }  // from here

  int verdict(bool out_of_memory) const {
    const Rank* culprit = nullptr;
    int orderly = 0;
    for (const auto& rank : ranks_) {
      if (stopped(rank))
        orderly = std::max(orderly, rank.killed() ? 128 + stop_signal_ : rank.code());
      else if (!in_order(rank) && (!culprit || suspicion(rank) > suspicion(*culprit)))
        culprit = &rank;
    }
    if (!culprit) return orderly;
    if (culprit->killed()) explain(*culprit, out_of_memory);
    if (culprit->code() == kCannotExecute)
      throw Error(ExitCode::kError, "the ranks cannot be started", program_);
    return culprit->code();
  }

  [[noreturn]] void explain(const Rank& rank, bool out_of_memory) const {
    const int signal = WTERMSIG(*rank.status);
    const char* name = sigabbrev_np(signal);
    std::string text = "rank " + std::to_string(&rank - ranks_.data()) + " (pid " +
                       std::to_string(rank.pid) + ") was killed by SIG" +
                       (name ? name : std::to_string(signal));
    std::string hint;
    if (signal == SIGKILL && out_of_memory) {
      text += ": the kernel ended it for lack of memory";
      hint = "`hydrofoil plan` shows what a run needs";
    } else if (signal == SIGBUS) {
      text += ": memory or a mapped file could not be read";
      hint = "a file was cut short, a disk failed, or memory ran out";
    } else if (signal == SIGPIPE) {
      text += ": the reader of its output has gone";
    } else if (signal == SIGSEGV || signal == SIGABRT || signal == SIGILL || signal == SIGFPE) {
      text += ": a crash of the program";
    }
    throw Error(ExitCode::kPeerFailed, text, {}, hint);
  }

  const SupervisorOptions& options_;
  std::string program_, job_;
  BlockedSignals signals_;
  std::vector<Rank> ranks_;
  std::optional<Clock::time_point> deadline_;  // of the grace, once a rank has failed
  int stop_signal_ = 0;                        // the last that was passed on
  bool asked_ = false;                         // the rest have got SIGTERM
};

}  // namespace

int supervise(const SupervisorOptions& options) {
  if (options.ranks < 1)
    throw Error(ExitCode::kUsage, std::to_string(options.ranks) + " ranks cannot be started");
  return Supervisor(options).run();
}

}  // namespace hydrofoil::comm
