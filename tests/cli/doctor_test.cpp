// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "hydrofoil/core/host.h"
#include "program.h"

namespace hydrofoil::cli::doctor_test {
namespace {

using nlohmann::json;
using testing::HasSubstr;
using testing::Not;

constexpr const char* kNoLauncher = "env -u RANK -u OMPI_COMM_WORLD_RANK -u SLURM_PROCID";

TEST(Doctor, TellsHostBuildAndKernelsAsOneObject) {
  const Result result = hydrofoil("doctor --json", kNoLauncher);
  EXPECT_EQ(result.code, 0);
  const json facts = json::parse(result.out);
  EXPECT_THAT(facts["build"]["program"].get<std::string>(), HasSubstr("hydrofoil 0."));
  EXPECT_EQ(facts["host"]["usable_cores"], host::usable_cores());
  EXPECT_EQ(facts["host"]["memory_bytes"], host::memory().total_bytes);
  EXPECT_FALSE(facts["kernels"]["supported"].empty());
  EXPECT_TRUE(facts["kernels"]["isa"].is_string());
  for (const char* call : {"pidfd", "memfd", "io_uring"})
    EXPECT_TRUE(facts["system"][call].is_boolean()) << call;
  EXPECT_TRUE(facts["launch"]["launcher"].is_null());
}

TEST(Doctor, NamesTheLauncherAsFound) {
  const json torchrun =
      json::parse(hydrofoil("doctor --json", "RANK=1 WORLD_SIZE=4 SLURM_PROCID=0").out)["launch"];
  EXPECT_EQ(torchrun["launcher"], "torchrun");
  EXPECT_EQ(torchrun["WORLD_SIZE"], "4");
  EXPECT_TRUE(torchrun["MASTER_ADDR"].is_null());
}

TEST(Doctor, ReportsWhatWillNotWorkInsteadOfFailing) {
  const Result result = hydrofoil("doctor", "HYDROFOIL_ISA=abacus");
  EXPECT_EQ(result.code, 0);
  EXPECT_THAT(result.out, HasSubstr("problems\n"));
  EXPECT_THAT(result.out, HasSubstr("HYDROFOIL_ISA=abacus is not one of"));
}

TEST(Doctor, TextHasTheSameFacts) {
  const Result result = hydrofoil("doctor", "HYDROFOIL_ISA=scalar");
  EXPECT_THAT(result.out, HasSubstr("isa                   scalar\n"));
  EXPECT_THAT(result.out, HasSubstr(host::cpu_model()));
  EXPECT_THAT(result.out, Not(HasSubstr("null")));
}

}  // namespace
}  // namespace hydrofoil::cli::doctor_test
