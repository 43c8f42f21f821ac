// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/comm/backend/shm/rendezvous.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <cstddef>
#include <cstring>
#include <thread>

#include "hydrofoil/core/error.h"

namespace hydrofoil::comm::rendezvous_test {
namespace {

using std::chrono::milliseconds;

struct Outcome {
  std::vector<Member> members;
  ExitCode code = ExitCode::kOk;
  std::string line;
};

struct Guest {
  int rank, size;
};

std::string fresh_job() {
  static int jobs = 0;
  return "rendezvous-" + std::to_string(getpid()) + "-" + std::to_string(++jobs);
}

// Each guest in a thread; memory of rank r is r + 1 pages long, so that it can be told apart.
std::vector<Outcome> bring_together(const std::string& job, const std::vector<Guest>& guests,
                                    milliseconds timeout = std::chrono::seconds(20)) {
  std::vector<Outcome> outcomes(guests.size());
  std::vector<std::thread> threads;
  for (size_t i = 0; i < guests.size(); ++i)
    threads.emplace_back([&, i] {
      Member own{.pid = 1000 + static_cast<int>(i),
                 .memory = Descriptor(memfd_create("test", MFD_CLOEXEC)),
                 .process = {}};
      ASSERT_EQ(ftruncate(own.memory.get(), 4096 * (guests[i].rank + 1)), 0);
      try {
        outcomes[i].members = meet(job, guests[i].rank, guests[i].size, std::move(own), timeout);
      } catch (const Error& error) {
        outcomes[i].code = error.code();
        outcomes[i].line = error.line();
      }
    });
  for (auto& thread : threads) thread.join();
  return outcomes;
}

void expect_all(const std::vector<Outcome>& outcomes, ExitCode code, const std::string& part) {
  for (const auto& outcome : outcomes) {
    EXPECT_EQ(outcome.code, code);
    EXPECT_NE(outcome.line.find(part), std::string::npos) << outcome.line;
  }
}

TEST(Rendezvous, EverybodyGetsTheMemoryOfEverybody) {
  const auto outcomes = bring_together(fresh_job(), {{2, 3}, {0, 3}, {1, 3}});
  for (const auto& outcome : outcomes) {
    ASSERT_EQ(outcome.code, ExitCode::kOk) << outcome.line;
    ASSERT_EQ(outcome.members.size(), 3u);
    for (int r = 0; r < 3; ++r) {
      struct stat file{};
      ASSERT_EQ(fstat(outcome.members[static_cast<size_t>(r)].memory.get(), &file), 0);
      EXPECT_EQ(file.st_size, 4096 * (r + 1));
    }
  }
}

TEST(Rendezvous, LongJobIdsDifferInTheirTails) {
  const std::string job(300, 'x');
  std::thread other([&] { bring_together(job + "1", {{0, 2}, {1, 2}}); });
  const auto outcomes = bring_together(job + "2", {{0, 2}, {1, 2}});
  other.join();
  for (const auto& outcome : outcomes) EXPECT_EQ(outcome.code, ExitCode::kOk) << outcome.line;
}

TEST(Rendezvous, MissingRanksAreNamedToAllWhoCame) {
  const auto outcomes = bring_together(fresh_job(), {{0, 4}, {2, 4}}, milliseconds(1500));
  expect_all(outcomes, ExitCode::kTimeout, "ranks 1, 3 of 4 did not come within 1.5 s");
  expect_all(outcomes, ExitCode::kTimeout, "one host");
}

TEST(Rendezvous, AMissingRank0IsNamed) {
  const auto outcomes = bring_together(fresh_job(), {{1, 2}}, milliseconds(200));
  expect_all(outcomes, ExitCode::kTimeout, "rank 0 did not come within 0.2 s");
}

TEST(Rendezvous, ARankClaimedTwiceIsRefused) {
  expect_all(bring_together(fresh_job(), {{0, 3}, {1, 3}, {1, 3}}), ExitCode::kConfig,
             "two processes claim rank 1: pids 100");
}

TEST(Rendezvous, Rank0ClaimedTwiceIsRefused) {
  const std::string job = fresh_job();
  std::vector<Outcome> first;
  std::thread host([&] { first = bring_together(job, {{0, 2}}, milliseconds(3000)); });
  auto second = bring_together(job, {{0, 2}}, milliseconds(3000));
  host.join();
  // Whoever came later is told; the other waits in vain.
  if (second[0].code == ExitCode::kTimeout) std::swap(first, second);
  expect_all(second, ExitCode::kConfig, "two processes claim rank 0");
  expect_all(first, ExitCode::kTimeout, "rank 1 of 2 did not come");
}

TEST(Rendezvous, DifferentSizesAreRefused) {
  expect_all(bring_together(fresh_job(), {{0, 2}, {1, 3}}), ExitCode::kConfig,
             "rank 1 (pid 1001) was started for 3 ranks, rank 0 for 2");
}

// A connection to rank 0 of this job, once it is there.
bool reach_rank_0(const Descriptor& from, const std::string& job) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::string name = "hydrofoil-" + std::to_string(geteuid()) + "-" + job;
  name.copy(address.sun_path + 1, sizeof address.sun_path - 1);
  const auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + name.size());
  return connect(from.get(), reinterpret_cast<sockaddr*>(&address), length) == 0;
}

bool send_with(int to, const void* data, size_t bytes, int descriptor) {
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  iovec part{const_cast<void*>(data), bytes};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  cmsghdr* header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(sizeof(int));
  std::memcpy(CMSG_DATA(header), &descriptor, sizeof descriptor);
  return sendmsg(to, &message, MSG_NOSIGNAL) == static_cast<ssize_t>(bytes);
}

Descriptor caller() {
  return Descriptor(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
}

// Rank 0 of two as a process.
pid_t fork_rank_0(const std::string& job, milliseconds timeout) {
  const pid_t pid = fork();
  if (pid != 0) return pid;
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  int code = 0;
  try {
    meet(job, 0, 2, {.pid = 1, .memory = Descriptor(memfd_create("test", 0)), .process = {}},
         timeout);
  } catch (const Error& error) {
    code = static_cast<int>(error.code());
  }
  _exit(code);
}

// A rank 0 that was itself off its core when the time came: who had come by then is not missing.
TEST(Rendezvous, ALateRank0TakesWhoCameInTime) {
  const std::string job = fresh_job();
  const pid_t host = fork_rank_0(job, milliseconds(2000));
  const auto end = std::chrono::steady_clock::now() + milliseconds(2500);
  while (!reach_rank_0(caller(), job) && std::chrono::steady_clock::now() < end)
    std::this_thread::yield();
  int status = 0;
  kill(host, SIGSTOP);
  ASSERT_EQ(waitpid(host, &status, WUNTRACED), host);
  ASSERT_TRUE(WIFSTOPPED(status)) << "rank 0 was not stopped in time";
  // What a rank says, and the memory it brings.
  const struct {
    std::array<char, 16> magic{"hydrofoil comm1"};
    int32_t rank = 1, size = 2, pid = 2;
  } hello;
  const Descriptor guest = caller(), memory(memfd_create("test", MFD_CLOEXEC));
  ASSERT_TRUE(reach_rank_0(guest, job));
  ASSERT_TRUE(send_with(guest.get(), &hello, sizeof hello, memory.get()));
  std::this_thread::sleep_until(end);
  kill(host, SIGCONT);
  ASSERT_EQ(waitpid(host, &status, 0), host);
  EXPECT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

TEST(Rendezvous, StrangersAreIgnored) {
  const std::string job = fresh_job();
  std::vector<Outcome> outcomes;
  std::thread ranks([&] { outcomes = bring_together(job, {{0, 2}, {1, 2}}); });
  // Whatever is sent before or after: only what is written down as a message of ours counts.
  const Descriptor stranger = caller();
  for (int i = 0; i < 200; ++i) {
    if (reach_rank_0(stranger, job)) {
      send(stranger.get(), "hello?", 6, MSG_NOSIGNAL);
      break;
    }
    std::this_thread::yield();
  }
  ranks.join();
  for (const auto& outcome : outcomes) EXPECT_EQ(outcome.code, ExitCode::kOk) << outcome.line;
}

}  // namespace
}  // namespace hydrofoil::comm::rendezvous_test
