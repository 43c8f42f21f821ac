// SPDX-License-Identifier: Apache-2.0
// The same run under every launcher and over every backend: the losses are the same bits. And two
// network namespaces as two hosts, with a link that can be cut.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "processes.h"
#include "train_run.h"

namespace hydrofoil::test::launcher_test {
namespace {

namespace fs = std::filesystem;
using testing::AnyOf;
using testing::ContainsRegex;
using testing::HasSubstr;

bool has_module(const std::string& name) {
  return fs::exists(fs::path(HYDROFOIL_PROGRAM).parent_path() / ("libhydrofoil_" + name + ".so"));
}
bool shell(const std::string& command) {
  return std::system((command + " > /dev/null 2>&1").c_str()) == 0;
}

class Launchers : public Train {
 protected:
  Launchers() : run_(run_file({{"steps", 4}})) {}

  std::vector<std::string> arguments(const std::string& name) const {
    return {"train", run_, "--json", "--output", (scratch_.path() / name).string()};
  }
  // What two ranks of our own launcher say, over shared memory.
  std::vector<double> reference(int ranks) const {
    auto words = arguments("reference");
    words.insert(words.end(), {"--ranks", std::to_string(ranks)});
    return losses(events(hydrofoil(words).out));
  }
  // Ranks that a test starts itself; `environment(rank)` is what a launcher would tell them.
  template <class Environment>
  void expect_reference(const std::vector<std::string>& words, const std::string& carrier,
                        Environment environment) const {
    Process other(words, environment(1));
    const Ended zero = hydrofoil(words, environment(0));
    EXPECT_EQ(zero.code, 0) << zero.err;
    EXPECT_EQ(other.wait().code, 0);
    EXPECT_THAT(zero.err, HasSubstr("2 ranks over " + carrier));
    EXPECT_EQ(losses(events(zero.out)), reference(2));
  }

  const std::string run_;
};

TEST_F(Launchers, TorchrunOverGlooGivesTheLossesOfSharedMemory) {
  if (!has_module("gloo")) GTEST_SKIP() << "this build is without libtorch";
  auto words = arguments("torchrun");
  words.insert(words.end(), {"--comm", "gloo"});
  expect_reference(words, "gloo", [](int rank) {
    auto variables = torchrun(rank, 2, "gloo-" + std::to_string(getpid()));
    variables.push_back("TORCHELASTIC_USE_AGENT_STORE=False");  // there is no agent
    return variables;
  });
}

TEST_F(Launchers, SrunOverGlooGivesTheLossesOfSharedMemory) {
  if (!has_module("gloo")) GTEST_SKIP() << "this build is without libtorch";
  expect_reference(arguments("srun"), "gloo", [](int rank) {
    return Variables{"SLURM_PROCID=" + std::to_string(rank),
                     "SLURM_LOCALID=" + std::to_string(rank),
                     "SLURM_NTASKS=2",
                     "SLURM_STEP_ID=0",
                     "SLURM_JOB_ID=" + std::to_string(getpid()),
                     "SLURM_STEP_TASKS_PER_NODE=2",
                     "HYDROFOIL_COMM_BACKEND=gloo"};
  });
}

TEST_F(Launchers, MpirunGivesTheLossesOfSharedMemory) {
  if (!shell("mpirun --version")) GTEST_SKIP() << "mpirun is not installed";
  if (!has_module("mpi")) GTEST_SKIP() << "this build is without Open MPI";
  const auto expected = reference(2);
  for (const std::string backend : {"auto", "mpi", "shm+mpi"}) {
    auto words = arguments(backend);
    words.insert(words.begin(),
                 {"mpirun", "-n", "2", "--oversubscribe", "--bind-to", "none", HYDROFOIL_PROGRAM});
    words.insert(words.end(), {"--comm", backend});
    // The child becomes mpirun before it would become the program.
    const Ended run =
        Process({}, {"OMPI_ALLOW_RUN_AS_ROOT=1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1"}, [&words] {
          std::vector<char*> argv;
          for (auto& word : words) argv.push_back(word.data());
          argv.push_back(nullptr);
          execvp(argv[0], argv.data());
        }).wait();
    EXPECT_EQ(run.code, 0) << run.err;
    EXPECT_THAT(run.err, HasSubstr("2 ranks over " + (backend == "auto" ? "shm" : backend)));
    EXPECT_EQ(losses(events(run.out)), expected) << backend;
  }
}

TEST_F(Launchers, ABackendThatIsNotThereIsRefused) {
  auto words = arguments("refused");
  words.insert(words.end(), {"--ranks", "2", "--comm", "ucx"});
  const Ended run = hydrofoil(words);
  EXPECT_EQ(run.code, 3);
  EXPECT_THAT(run.err,
              HasSubstr("there is no comm backend 'ucx' (use auto, tuned, shm, mpi, gloo"));
  EXPECT_EQ(std::count(run.err.begin(), run.err.end(), '\n'), 1) << run.err;
}

// --- two hosts

// Two network namespaces, joined by a cable.
class Hosts : public Launchers {
 protected:
  void SetUp() override {
    if (!has_module("gloo")) GTEST_SKIP() << "this build is without libtorch";
    const std::string id = std::to_string(getpid());
    names_ = {"hf-a-" + id, "hf-b-" + id};
    cable_ = "hf" + id;
    for (const auto& name : names_)
      if (!shell("ip netns add " + name)) GTEST_SKIP() << "no network namespaces: not root?";
    bool ready = shell("ip link add " + cable_ + " netns " + names_[0] + " type veth peer name " +
                       cable_ + " netns " + names_[1]);
    for (int h = 0; h < 2; ++h) {
      const std::string ip = "ip -n " + names_[static_cast<size_t>(h)];
      ready = ready && shell(ip + " link set lo up") &&
              shell(ip + " addr add " + address(h) + "/24 dev " + cable_) &&
              shell(ip + " link set " + cable_ + " up");
    }
    if (!ready) GTEST_SKIP() << "no virtual cable between network namespaces";
  }
  void TearDown() override {
    for (const auto& name : names_) shell("ip netns del " + name);
  }

  static std::string address(int host) { return "10.213.97." + std::to_string(1 + host); }
  void cut() const { ASSERT_TRUE(shell("ip -n " + names_[1] + " link set " + cable_ + " down")); }

  // Rank `rank` of three: 0 and 1 on the first host, 2 on the other, as torchrun would say.
  std::unique_ptr<Process> start(const std::vector<std::string>& words, int rank,
                                 const Variables& more = {}) const {
    const size_t host = rank < 2 ? 0 : 1;
    auto variables = torchrun(rank, 3, "hosts-" + names_[0]);
    for (const auto& [name, value] : std::vector<std::pair<std::string, std::string>>{
             {"LOCAL_RANK", host == 0 ? std::to_string(rank) : "0"},
             {"LOCAL_WORLD_SIZE", host == 0 ? "2" : "1"},
             {"GROUP_RANK", std::to_string(host)},
             {"MASTER_ADDR", address(0)},
             {"TORCHELASTIC_USE_AGENT_STORE", "False"}})
      variables.push_back(name + "=" + value);
    variables.insert(variables.end(), more.begin(), more.end());
    return std::make_unique<Process>(words, variables, [name = names_[host]] {
      const int space = open(("/run/netns/" + name).c_str(), O_RDONLY | O_CLOEXEC);
      if (space < 0 || setns(space, CLONE_NEWNET) != 0) _exit(126);
    });
  }

  std::vector<std::string> names_;
  std::string cable_;
};

TEST_F(Hosts, TwoHostsGiveTheLossesOfOne) {
  const auto expected = reference(3);
  for (const std::string backend : {"auto", "gloo"}) {
    auto words = arguments(backend);
    words.insert(words.end(), {"--comm", backend});
    const auto one = start(words, 1), two = start(words, 2);
    const Ended zero = start(words, 0)->wait();
    EXPECT_EQ(zero.code, 0) << zero.err;
    EXPECT_THAT(zero.err,
                HasSubstr("3 ranks over " + std::string(backend == "auto" ? "shm+gloo" : backend)));
    EXPECT_EQ(losses(events(zero.out)), expected) << backend;
    EXPECT_EQ(one->wait().code, 0);
    EXPECT_EQ(two->wait().code, 0);
  }
}

TEST_F(Hosts, ACutCableIsNamedByAllWithRankCallAndUnit) {
  const auto words = [&] {
    auto all = arguments("cut");
    all.insert(all.end(), {"--set", "steps=1000000", "--set", "save_every=20"});
    return all;
  }();
  const Variables patience{"HYDROFOIL_COMM_TIMEOUT_SECONDS=6"};
  const auto one = start(words, 1, patience), two = start(words, 2, patience);
  const auto zero = start(words, 0, patience);
  ASSERT_TRUE(zero->wait_for("saved")) << zero->err_so_far();
  const auto start_of_cut = std::chrono::steady_clock::now();
  cut();
  for (Process* process : {zero.get(), one.get(), two.get()}) {
    const Ended ended = process->wait(std::chrono::seconds(30));
    EXPECT_THAT(ended.code, AnyOf(8, 9)) << ended.err;
    EXPECT_THAT(ended.err, HasSubstr("rank 2")) << ended.err;
    // The call and the unit, or what it is for where it has none.
    EXPECT_THAT(ended.err, ContainsRegex(" in (read|reduce_scatter|all_reduce|all_gather|barrier|"
                                         "await_retired)( '[^']+')? \\([a-z]+\\)"))
        << ended.err;
  }
  EXPECT_LT(std::chrono::steady_clock::now() - start_of_cut, std::chrono::seconds(25));
}

}  // namespace
}  // namespace hydrofoil::test::launcher_test
