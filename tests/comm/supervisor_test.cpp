// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/comm/supervisor.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <functional>

#include "hydrofoil/core/error.h"

namespace hydrofoil::comm::supervisor_test {
namespace {

using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;

SupervisorOptions shell(int ranks, const std::string& script) {
  return {.ranks = ranks,
          .argv = {"sh", "-c", script},
          .environment = {},
          .program = "/bin/sh",
          .grace = milliseconds(300)};
}

// The grace of ranks that end by themselves, however slowly.
constexpr milliseconds kPatience{30'000};

// A pipe that ranks write to and read from, by number in their scripts.
class Pipe {
 public:
  Pipe() { EXPECT_EQ(pipe(ends_.data()), 0); }
  ~Pipe() {
    close(ends_[0]);
    if (ends_[1] >= 0) close(ends_[1]);
  }
  std::string in() const { return std::to_string(ends_[0]); }
  std::string out() const { return std::to_string(ends_[1]); }
  std::string line() {
    std::string text;
    for (char c; read(ends_[0], &c, 1) == 1 && c != '\n';) text += c;
    return text;
  }
  // True when every process that could write has ended.
  bool closed_within(milliseconds time) {
    close(ends_[1]);
    ends_[1] = -1;
    pollfd end{ends_[0], POLLIN, 0};
    return poll(&end, 1, static_cast<int>(time.count())) == 1 && (end.revents & POLLHUP);
  }

 private:
  std::array<int, 2> ends_{-1, -1};
};

TEST(Supervisor, RanksKnowWhoTheyAre) {
  Pipe pipe;
  auto options =
      shell(2, "echo $HYDROFOIL_RANK/$HYDROFOIL_RANKS $EXTRA $HYDROFOIL_JOB >&" + pipe.out());
  options.environment = {"EXTRA=yes"};
  EXPECT_EQ(supervise(options), 0);
  std::vector<std::string> lines{pipe.line(), pipe.line()};
  std::sort(lines.begin(), lines.end());
  EXPECT_TRUE(lines[0].starts_with("0/2 yes hydrofoil-")) << lines[0];
  EXPECT_TRUE(lines[1].starts_with("1/2 yes hydrofoil-")) << lines[1];
  EXPECT_EQ(lines[0].substr(4), lines[1].substr(4));
}

TEST(Supervisor, AFailingRankEndsTheOthersAndGivesItsCode) {
  Pipe pipe;
  const auto start = Clock::now();
  EXPECT_EQ(supervise(shell(3, "if [ $HYDROFOIL_RANK = 1 ]; then exit 5; fi; sleep 100")), 5);
  EXPECT_LT(Clock::now() - start, std::chrono::seconds(5));
  EXPECT_TRUE(pipe.closed_within(milliseconds(2000)));
}

TEST(Supervisor, TheCauseCountsNotItsConsequences) {
  // Rank 2 fails by itself; the others say that a peer failed.
  auto options = shell(3, "if [ $HYDROFOIL_RANK = 2 ]; then exit 7; fi; exit 9");
  options.grace = kPatience;
  EXPECT_EQ(supervise(options), 7);
}

TEST(Supervisor, RanksThatIgnoreSigtermAreKilled) {
  Pipe pipe;
  EXPECT_EQ(
      supervise(shell(
          2,
          "if [ $HYDROFOIL_RANK = 1 ]; then exit 5; fi; trap '' TERM; while :; do sleep 1; done")),
      5);
  EXPECT_TRUE(pipe.closed_within(milliseconds(2000)));
}

TEST(Supervisor, AKilledRankIsExplained) {
  for (const auto& [signal, meaning] : {std::pair{"SEGV", "a crash"}, {"PIPE", "the reader"}}) {
    const std::string name = signal;
    try {
      auto options = shell(3, "if [ $HYDROFOIL_RANK = 1 ]; then kill -" + name + " $$; fi; exit 9");
      options.grace = kPatience;
      supervise(options);
      ADD_FAILURE();
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::kPeerFailed);
      const std::string line = error.line();
      EXPECT_TRUE(line.starts_with("rank 1 (pid ")) << line;
      EXPECT_NE(line.find("was killed by SIG" + name + ": " + meaning), std::string::npos) << line;
    }
  }
}

// Its crash may be seen only after the others, who name it, have ended and it was told to end, too.
// It explains what they say, not what one of them did by itself.
TEST(Supervisor, ACrashAfterTheOthersEndedIsExplainedUnlessOneOfThemFailed) {
  for (const auto& [code, explained] : {std::pair{"9", true}, {"5", false}}) {
    Pipe ready;
    const std::string script = "if [ $HYDROFOIL_RANK = 0 ]; then read line <&" + ready.in() +
                               "; exit " + code + "; fi; trap 'kill -SEGV $$' TERM; echo ready >&" +
                               ready.out() + "; while :; do sleep 0.05; done";
    int result = 0;
    std::string line;
    try {
      auto options = shell(2, script);
      options.grace = milliseconds(2000);  // it must get to its crash before it is killed
      result = supervise(options);
    } catch (const Error& error) {
      line = error.line();
    }
    EXPECT_EQ(result, explained ? 0 : 5);
    EXPECT_EQ(line.find("was killed by SIGSEGV: a crash") != std::string::npos, explained) << line;
  }
}

TEST(Supervisor, AProgramThatIsNotThereIsAnError) {
  auto options = shell(2, "");
  options.program = "/nonexistent/program";
  EXPECT_THROW(supervise(options), Error);
  EXPECT_THROW(supervise(shell(0, "")), Error);
}

// The supervisor in a process of its own, so that it can be signalled.
class Supervised {
 public:
  explicit Supervised(const SupervisorOptions& options) : pid_(fork()) {
    if (pid_ != 0) return;
    int code = 99;
    try {
      code = supervise(options);
    } catch (const Error& error) {
      code = static_cast<int>(error.code());
    }
    _exit(code);
  }
  void signal(int number) const { kill(pid_, number); }
  int wait() const {
    int status = 0;
    waitpid(pid_, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 256 + WTERMSIG(status);
  }

 private:
  pid_t pid_;
};

TEST(Supervisor, PassesSigtermOnAndLetsRanksFinishTheirSave) {
  Pipe pipe;
  // The save takes longer than the grace.
  const Supervised job(shell(2, "trap 'sleep 0.6; exit 75' TERM; echo ready >&" + pipe.out() +
                                    "; while :; do sleep 0.05; done"));
  pipe.line();
  pipe.line();
  job.signal(SIGTERM);
  EXPECT_EQ(job.wait(), 75);
  EXPECT_TRUE(pipe.closed_within(milliseconds(2000)));
}

TEST(Supervisor, AnInterruptEndsWith130) {
  Pipe pipe;
  const Supervised job(shell(
      2, "trap 'exit 130' INT; echo ready >&" + pipe.out() + "; while :; do sleep 0.05; done"));
  pipe.line();
  pipe.line();
  job.signal(SIGINT);
  EXPECT_EQ(job.wait(), 130);
}

// A signal may come before a rank can answer it: the job was stopped all the same, it did not fail.
TEST(Supervisor, ARankThatTheStopKillsHasNotFailed) {
  for (const auto& [signal, code] : {std::pair{SIGINT, 130}, {SIGTERM, 143}}) {
    Pipe pipe;
    const Supervised job(shell(3, "if [ $HYDROFOIL_RANK = 1 ]; then echo ready >&" + pipe.out() +
                                      "; exec sleep 100; fi; trap 'sleep 0.2; exit 9' INT TERM; "
                                      "echo ready >&" +
                                      pipe.out() + "; while :; do sleep 0.05; done"));
    for (int i = 0; i < 3; ++i) pipe.line();
    job.signal(signal);
    EXPECT_EQ(job.wait(), code);
  }
}

TEST(Supervisor, NoRankOutlivesAKilledSupervisor) {
  Pipe pipe;
  const Supervised job(
      shell(3, "trap '' TERM INT HUP; echo ready >&" + pipe.out() + "; exec sleep 100"));
  for (int r = 0; r < 3; ++r) pipe.line();
  job.signal(SIGKILL);
  EXPECT_EQ(job.wait(), 256 + SIGKILL);
  EXPECT_TRUE(pipe.closed_within(milliseconds(2000)));
}

}  // namespace
}  // namespace hydrofoil::comm::supervisor_test
