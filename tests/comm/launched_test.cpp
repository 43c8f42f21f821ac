// SPDX-License-Identifier: Apache-2.0
// The suites of the other files once more, with ranks that mpirun starts: over Open MPI, and over
// shared memory and Open MPI together.
#include <cstdio>
#include <cstdlib>
#include <string>

#include "tests/comm/harness.h"

#if !defined(__SANITIZE_THREAD__) && \
    !defined(__SANITIZE_ADDRESS__)  // Open MPI knows nothing of them

namespace hydrofoil::comm::test::launched_test {
namespace {

struct Outcome {
  int status = -1;
  std::string out;
};

Outcome shell(const std::string& command) {
  Outcome outcome;
  FILE* pipe = popen((command + " 2>&1").c_str(), "r");
  char text[4096];
  while (pipe != nullptr && std::fgets(text, sizeof text, pipe)) outcome.out += text;
  if (pipe != nullptr) outcome.status = pclose(pipe);
  return outcome;
}

class OpenMpi : public ::testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    if (detect(process_environment()).size > 1) GTEST_SKIP() << "this is a rank already";
    if (shell("mpirun --version").status != 0) GTEST_SKIP() << "mpirun is not installed";
    if (!in_this_build("mpi")) GTEST_SKIP() << "this build is without Open MPI";
  }
  // The tests of a filter on three ranks, in one job.
  Outcome run_suite(const std::string& filter) const {
    const std::string self = std::filesystem::read_symlink("/proc/self/exe").string();
    return shell(
        "OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 "
        "HYDROFOIL_COMM_TIMEOUT_SECONDS=60 HYDROFOIL_COMM_BACKEND=" +
        std::string(GetParam()) + " timeout 250 mpirun -n 3 --oversubscribe --bind-to none " +
        self + " --gtest_color=no --gtest_brief=1 --gtest_filter='" + filter + "'");
  }
};

TEST_P(OpenMpi, PassesTheSuites) {
  const Outcome outcome = run_suite("Collectives.*/Launched*:Windows.*/Launched*");
  EXPECT_EQ(outcome.status, 0) << outcome.out;
}

// A job that has failed does not end in order, so mpirun complains: each rank's verdict counts.
TEST_P(OpenMpi, NamesWhatWentWrong) {
  for (const char* test :
       {"AbortEndsPendingAndLaterCallsOfAll", "DifferentOperationsAreNamedOnBothSides",
        "AMessageOfAnotherSizeIsNoticed", "DisagreeingAllToAllCountsAreNoticed"}) {
    const Outcome outcome = run_suite("Failures." + std::string(test) + "/Launched*");
    size_t passed = 0;
    for (size_t at = 0; (at = outcome.out.find("[  PASSED  ] 1 test", at)) != std::string::npos;
         ++at)
      ++passed;
    EXPECT_EQ(passed, 3U) << test << ": " << outcome.out;
  }
}

INSTANTIATE_TEST_SUITE_P(, OpenMpi, ::testing::Values("mpi", "shm+mpi"), [](const auto& choice) {
  return std::string(choice.param) == "mpi" ? "Mpi" : "ShmMpi";
});

}  // namespace
}  // namespace hydrofoil::comm::test::launched_test

#endif
