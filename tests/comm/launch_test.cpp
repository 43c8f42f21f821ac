// SPDX-License-Identifier: Apache-2.0
// Environments as the launchers make them, and what must be refused.
#include "hydrofoil/comm/launch.h"

#include <gtest/gtest.h>

#include <map>

#include "hydrofoil/comm/world.h"
#include "hydrofoil/core/error.h"

namespace hydrofoil::comm::launch_test {
namespace {

using Environment = std::map<std::string, std::string, std::less<>>;

Lookup lookup_in(Environment variables) {
  return [variables = std::move(variables)](std::string_view name) -> std::optional<std::string> {
    const auto found = variables.find(name);
    if (found == variables.end()) return std::nullopt;
    return found->second;
  };
}

Environment with(Environment base, const std::string& name, const std::string& value) {
  base[name] = value;
  return base;
}

const Environment kTorchrun{{"RANK", "5"},
                            {"WORLD_SIZE", "8"},
                            {"LOCAL_RANK", "1"},
                            {"LOCAL_WORLD_SIZE", "4"},
                            {"GROUP_RANK", "1"},
                            {"MASTER_ADDR", "node0"},
                            {"MASTER_PORT", "29500"},
                            {"TORCHELASTIC_RUN_ID", "none"},
                            {"TORCHELASTIC_RESTART_COUNT", "0"},
                            {"TORCHELASTIC_USE_AGENT_STORE", "True"}};
const Environment kOpenMpi{{"OMPI_COMM_WORLD_RANK", "1"},
                           {"OMPI_COMM_WORLD_SIZE", "2"},
                           {"OMPI_COMM_WORLD_LOCAL_RANK", "1"},
                           {"OMPI_COMM_WORLD_LOCAL_SIZE", "2"},
                           {"PMIX_RANK", "1"},
                           {"PMIX_NAMESPACE", "1735655425"}};
const Environment kSlurm{{"SLURM_JOB_ID", "77"}, {"SLURM_STEP_ID", "0"},
                         {"SLURM_PROCID", "9"},  {"SLURM_NTASKS", "11"},
                         {"SLURM_LOCALID", "1"}, {"SLURM_TASKS_PER_NODE", "4(x2),3"},
                         {"SLURM_NODEID", "2"},  {"SLURM_STEP_NODELIST", "n[1-3]"}};

TEST(Launch, AloneWithoutAnyLauncher) {
  const auto e = detect(lookup_in({{"HOME", "/root"}, {"MASTER_PORT", "1"}}));
  EXPECT_EQ(e.rank, 0);
  EXPECT_EQ(e.size, 1);
  EXPECT_EQ(e.launcher, "none");
}

TEST(Launch, OwnSupervisor) {
  const auto e = detect(lookup_in(
      {{"HYDROFOIL_RANK", "2"}, {"HYDROFOIL_RANKS", "3"}, {"HYDROFOIL_JOB", "x"}, {"RANK", "7"}}));
  EXPECT_EQ(e.launcher, "hydrofoil");
  EXPECT_EQ(e.rank, 2);
  EXPECT_EQ(e.size, 3);
  EXPECT_EQ(e.local_rank, 2);
  EXPECT_EQ(e.local_size, 3);
  EXPECT_EQ(e.job, "x");
}

TEST(Launch, Torchrun) {
  const auto e = detect(lookup_in(kTorchrun));
  EXPECT_EQ(e.launcher, "torchrun");
  EXPECT_EQ(e.rank, 5);
  EXPECT_EQ(e.size, 8);
  EXPECT_EQ(e.local_rank, 1);
  EXPECT_EQ(e.local_size, 4);
  EXPECT_EQ(e.address, "node0");
  EXPECT_EQ(e.port, 29500);
}

TEST(Launch, OpenMpi) {
  const auto e = detect(lookup_in(kOpenMpi));
  EXPECT_EQ(e.launcher, "Open MPI");
  EXPECT_EQ(e.rank, 1);
  EXPECT_EQ(e.size, 2);
  EXPECT_EQ(e.local_size, 2);
  EXPECT_NE(e.job.find("1735655425"), std::string::npos);
}

TEST(Launch, MvapichAndPmi) {
  const auto mvapich = detect(lookup_in({{"MV2_COMM_WORLD_RANK", "3"},
                                         {"MV2_COMM_WORLD_SIZE", "4"},
                                         {"MV2_COMM_WORLD_LOCAL_RANK", "3"},
                                         {"MV2_COMM_WORLD_LOCAL_SIZE", "4"},
                                         {"PMI_RANK", "3"}}));
  EXPECT_EQ(mvapich.launcher, "MVAPICH2");
  EXPECT_EQ(mvapich.rank, 3);
  const auto pmi = detect(lookup_in({{"PMI_RANK", "0"},
                                     {"PMI_SIZE", "2"},
                                     {"PMI_FD", "9"},
                                     {"MPI_LOCALRANKID", "0"},
                                     {"MPI_LOCALNRANKS", "1"}}));
  EXPECT_EQ(pmi.launcher, "PMI");
  EXPECT_EQ(pmi.size, 2);
  EXPECT_EQ(pmi.local_size, 1);
}

TEST(Launch, SlurmReadsTheTasksOfItsNode) {
  const auto e = detect(lookup_in(kSlurm));
  EXPECT_EQ(e.launcher, "Slurm");
  EXPECT_EQ(e.rank, 9);
  EXPECT_EQ(e.size, 11);
  EXPECT_EQ(e.local_rank, 1);
  EXPECT_EQ(e.local_size, 3);
  EXPECT_EQ(e.job, "slurm-77.0");
  EXPECT_EQ(detect(lookup_in(with(kSlurm, "SLURM_NODEID", "1"))).local_size, 4);
}

TEST(Launch, ABatchScriptOutsideAStepIsOneRank) {
  Environment batch = kSlurm;
  batch.erase("SLURM_STEP_ID");
  EXPECT_EQ(detect(lookup_in(batch)).size, 1);
}

TEST(Launch, JobsOfAHostDiffer) {
  const auto job = [](const Environment& e) { return detect(lookup_in(e)).job; };
  EXPECT_NE(job(kTorchrun), job(with(kTorchrun, "TORCHELASTIC_RESTART_COUNT", "1")));
  EXPECT_NE(job(kTorchrun), job(with(kTorchrun, "TORCHELASTIC_RUN_ID", "other")));
  EXPECT_NE(job(kTorchrun), job(with(kTorchrun, "MASTER_PORT", "29501")));
  EXPECT_NE(job(kOpenMpi), job(with(kOpenMpi, "PMIX_NAMESPACE", "2")));
  EXPECT_NE(job(kSlurm), job(with(kSlurm, "SLURM_STEP_ID", "1")));
  EXPECT_EQ(job(with(kTorchrun, "HYDROFOIL_JOB", "mine")), "mine");
}

TEST(Launch, JobsAreTheSameForAllRanks) {
  const auto job = [](const Environment& e) { return detect(lookup_in(e)).job; };
  EXPECT_EQ(job(kTorchrun), job(with(with(kTorchrun, "RANK", "4"), "LOCAL_RANK", "0")));
  EXPECT_EQ(job(kOpenMpi),
            job(with(with(with(kOpenMpi, "OMPI_COMM_WORLD_RANK", "0"), "PMIX_RANK", "0"),
                     "OMPI_COMM_WORLD_LOCAL_RANK", "0")));
}

TEST(Launch, ContradictionsNameTheVariables) {
  const auto expect = [](const Environment& environment, const std::string& part) {
    try {
      detect(lookup_in(environment));
      ADD_FAILURE() << "accepted: " << part;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::kConfig);
      EXPECT_NE(error.line().find(part), std::string::npos) << error.line();
    }
  };
  expect(with(kTorchrun, "RANK", "8"), "RANK=8 contradicts WORLD_SIZE=8");
  expect(with(kTorchrun, "RANK", "x1"), "RANK='x1' is not a number");
  expect(with(kTorchrun, "RANK", "-1"), "RANK='-1' is not a number");
  expect(with(kTorchrun, "RANK", "99999999999"), "RANK='99999999999' is not a number");
  expect(with(kTorchrun, "LOCAL_RANK", "4"), "LOCAL_RANK=4 contradicts LOCAL_WORLD_SIZE");
  expect(with(kTorchrun, "LOCAL_WORLD_SIZE", "9"), "LOCAL_WORLD_SIZE=9 contradicts WORLD_SIZE=8");
  expect(with(kTorchrun, "MASTER_PORT", "70000"), "MASTER_PORT=70000");
  expect({{"RANK", "0"}}, "RANK is set but WORLD_SIZE is not");
  expect({{"WORLD_SIZE", "2"}}, "WORLD_SIZE is set but RANK is not");
  expect({{"HYDROFOIL_RANK", "0"}, {"HYDROFOIL_RANKS", "2"}}, "HYDROFOIL_JOB is not");
  expect(with(kOpenMpi, "PMIX_RANK", "0"), "OMPI_COMM_WORLD_RANK=1 contradicts PMIX_RANK=0");
  expect(with(kSlurm, "SLURM_TASKS_PER_NODE", "4(x"), "SLURM_TASKS_PER_NODE='4(x' cannot be read");
  expect(with(kSlurm, "SLURM_NODEID", "3"), "has no node SLURM_NODEID");
  expect(with(kSlurm, "SLURM_LOCALID", "3"), "SLURM_LOCALID=3");
}

TEST(Connect, OneRankNeedsNobody) {
  const Communicator world = connect(detect(lookup_in({})));
  EXPECT_EQ(world.size(), 1);
  world.barrier();
}

TEST(Connect, TheBackendFollowsFromWhereTheRanksAre) {
  const auto chosen = [](const Environment& environment, const std::string& wish = "auto") {
    return choose_backend(detect(lookup_in(environment)), wish, lookup_in(environment));
  };
  EXPECT_EQ(chosen({}), "thread");
  EXPECT_EQ(chosen({}, "gloo"), "thread");
  EXPECT_EQ(chosen(kTorchrun), "shm+gloo");  // 8 ranks, 4 here
  const auto one_host = with(kTorchrun, "LOCAL_WORLD_SIZE", "8");
  EXPECT_EQ(chosen(one_host), "shm");
  EXPECT_EQ(chosen(one_host, "mpi"), "mpi");
  EXPECT_EQ(chosen(with(one_host, "HYDROFOIL_COMM_BACKEND", "gloo")), "gloo");
  EXPECT_EQ(chosen(with(one_host, "HYDROFOIL_COMM_BACKEND", "gloo"), "shm"), "shm");
  EXPECT_EQ(
      chosen(with(with(kOpenMpi, "OMPI_COMM_WORLD_SIZE", "9"), "OMPI_COMM_WORLD_LOCAL_SIZE", "2")),
      "shm+mpi");
}

TEST(Connect, ABackendThatCannotWorkIsRefused) {
  const auto expect = [](const Environment& environment, const std::string& wish,
                         const std::string& part) {
    try {
      connect(detect(lookup_in(environment)), {.backend = wish}, lookup_in(environment));
      ADD_FAILURE() << "accepted: " << part;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::kConfig);
      EXPECT_NE(error.line().find(part), std::string::npos) << error.line();
    }
  };
  expect(kTorchrun, "shm", "shared memory does not reach the others");
  expect(kTorchrun, "ucx", "there is no comm backend 'ucx' (use auto, tuned, shm, mpi, gloo,");
  expect(with(kTorchrun, "HYDROFOIL_COMM_BACKEND", "x"), "auto",
         "HYDROFOIL_COMM_BACKEND: there is");
  expect(with(with(kOpenMpi, "OMPI_COMM_WORLD_SIZE", "9"), "OMPI_COMM_WORLD_LOCAL_SIZE", "2"),
         "shm+gloo", "MASTER_ADDR is not set");
}

TEST(Connect, ABadTimeoutIsRefused) {
  for (const char* bad : {"", "x", "-1", "0", "1e99", "nan", "5 s"})
    EXPECT_THROW(connect({}, {}, lookup_in({{"HYDROFOIL_COMM_TIMEOUT_SECONDS", bad}})), Error)
        << bad;
  connect({}, {}, lookup_in({{"HYDROFOIL_COMM_TIMEOUT_SECONDS", "0.5"}}));
}

}  // namespace
}  // namespace hydrofoil::comm::launch_test
