// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <string>

#include "hydrofoil/core/host.h"
#include "hydrofoil/kernels/isa.h"
#include "program.h"

namespace hydrofoil::cli::doctor_test {
namespace {

using nlohmann::json;
using testing::Contains;
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

// A tier that is forced shows in what each kernel takes, and the reason names it.
TEST(Doctor, TellsWhichKernelsAreChosenAndWhy) {
  for (const auto isa : kernels::supported_tiers()) {
    const std::string tier(name_of(isa)), variable = "HYDROFOIL_ISA=" + tier;
    const json facts = json::parse(hydrofoil("doctor --json", variable).out);
    const json& choices = facts["choices"];
    for (const auto& [work, choice] : choices.items()) {
      EXPECT_THAT(choice["candidates"], Contains(choice["chosen"])) << work;
      EXPECT_FALSE(choice["reason"].get<std::string>().empty()) << work;
    }
    const auto widest = std::min(isa, kernels::Isa::kAvx512);  // that updates are compiled for
    for (const char* work : {"optimizer_step", "gradient_norm", "paged_attention"})
      EXPECT_EQ(choices[work]["chosen"], name_of(widest));
    if (isa != kernels::supported_tiers().back()) {
      EXPECT_EQ(choices["optimizer_step"]["reason"], variable);
    }
    if (facts["build"]["training_library"].is_null()) continue;
    if (kernels::supported(kernels::Isa::kAvx2)) {  // elsewhere scalar is all there is, and ours
      EXPECT_EQ(choices["attention"]["chosen"] == "libtorch", tier == "scalar");
    }
    EXPECT_TRUE(choices.contains("product_fp32") && choices.contains("product_bf16"));
  }
}

TEST(Doctor, WithoutTheTrainingLibraryTellsOfWhatWorks) {
  const std::string folder = testing::TempDir() + "hydrofoil-doctor";
  const Result alone = hydrofoil("", "mkdir -p " + folder + " && cp '" HYDROFOIL_PROGRAM "' " +
                                         folder + "/hydrofoil && " + folder +
                                         "/hydrofoil doctor --json; rm -r " + folder + "; true");
  const json facts = json::parse(alone.out);
  EXPECT_TRUE(facts["build"]["training_library"].is_null());
  EXPECT_THAT(facts["problems"].dump(), HasSubstr("bench train and bench products will not run"));
  EXPECT_TRUE(facts["choices"].contains("packed_product"));
  EXPECT_FALSE(facts["choices"].contains("product_fp32"));
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
  EXPECT_THAT(result.out, Not(HasSubstr("choices\n")));
}

TEST(Doctor, TextHasTheSameFacts) {
  const Result result = hydrofoil("doctor", "HYDROFOIL_ISA=scalar");
  EXPECT_THAT(result.out, HasSubstr("isa                   scalar\n"));
  EXPECT_THAT(result.out, HasSubstr("  optimizer_step        scalar (of scalar"));
  EXPECT_THAT(result.out, HasSubstr(host::cpu_model()));
  EXPECT_THAT(result.out, Not(HasSubstr("null")));
}

}  // namespace
}  // namespace hydrofoil::cli::doctor_test
