// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/plan/file_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>

#include "hydrofoil/plan/disk_plan.h"
#include "hydrofoil/plan/fit.h"
#include "hydrofoil/plan/memory_plan.h"
#include "hydrofoil/plan/wire_plan.h"
#include "specs.h"

namespace hydrofoil::plan::file_plan_test {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// Piece by piece, as a column is laid out.
uint64_t in_file(size_t elements, size_t chunk, size_t width) {
  uint64_t bytes = 0;
  for (size_t begin = 0; begin < elements; begin += chunk)
    bytes += (std::min(chunk, elements - begin) * width + 4095) / 4096 * 4096;
  return bytes;
}

Model odd_model() {
  return model_of({{"a", {17, 97}}, {"b", {1000003, 1, 64}}, {"c", {65}}, {"d", {4096, 999}}});
}

// 12 P/N read and written: masters and two moments of 4 bytes, with the stated padding.
TEST(FilePlan, OfStatesIsTwelveBytesAnElementEachWay) {
  const Model model = odd_model();
  for (const int ranks : {1, 2, 3, 4})
    for (const int stage : {1, 2, 3}) {
      RunShape run{.ranks = ranks, .stage = stage, .optimizer_widths = {4, 4, 4}};
      run.state_files = Files{.chunk_elements = 8192};
      uint64_t bytes = 0, gradients = 0;
      for (const auto& size : unit_sizes(model, run)) {
        const size_t own = ranks == 1 && stage < 2 ? size.numel : size.slice_numel;
        bytes += 3 * in_file(own, 8192, 4);
        gradients += in_file(own, 8192, 4);
      }
      const auto plan = plan_files(model, run);
      EXPECT_EQ(plan.optimizer.kept, bytes);
      EXPECT_EQ(plan.optimizer.read, bytes);
      EXPECT_EQ(plan.optimizer.written, bytes);
      EXPECT_EQ(plan.gradients.kept, stage >= 2 ? gradients : 0);
      EXPECT_NEAR(static_cast<double>(bytes),
                  12.0 * static_cast<double>(model.parameters()) / ranks,
                  3 * 4096.0 * 4 + 12 * 256 * 4 + 12 * 64 * 10);
      run.state_files->share = 0;
      EXPECT_EQ(plan_files(model, run).optimizer.kept, 0u);
    }
}

TEST(FilePlan, CountsMicroBatchesGathersAndWalks) {
  const Model model = model_of(gpt2({48, 3, 4, 4, 96, 997, 64}));
  RunShape run{.ranks = 3, .stage = 3, .accumulation = 5};
  run.state_files = run.parameter_files = Files{.chunk_elements = 4096};
  const auto plan = plan_files(model, run);
  EXPECT_EQ(plan.gradients.written, 5 * plan.gradients.kept);
  EXPECT_EQ(plan.gradients.read, (4 + 1) * plan.gradients.kept);  // added to, then used
  EXPECT_EQ(plan.parameters.written, plan.parameters.kept);
  uint64_t gathered = 0;
  const auto sizes = unit_sizes(model, {.ranks = 3});
  const auto gathers = plan_wire(model, run).gathers;
  for (size_t u = 0; u < sizes.size(); ++u)
    gathered += 3 * static_cast<uint64_t>(gathers[u]) * in_file(sizes[u].slice_numel, 4096, 4);
  EXPECT_EQ(plan.parameters.read, plan.parameters.kept + gathered);
  run.norms_first = true;
  const auto lamb = plan_files(model, run);
  EXPECT_EQ(lamb.optimizer.read, 2 * plan.optimizer.read);
  EXPECT_EQ(lamb.optimizer.written, 2 * plan.optimizer.written);
  EXPECT_EQ(lamb.gradients.read, plan.gradients.read + plan.gradients.kept);
  EXPECT_EQ(lamb.parameters.read, plan.parameters.read + plan.parameters.kept);
}

TEST(FilePlan, OfAWholeRunCountsStepsAndCheckpoints) {
  const Model model = odd_model();
  RunShape run{.ranks = 2, .stage = 2, .steps = 7, .saves = 3};
  EXPECT_EQ(bytes_written(model, run), 3 * 12 * model.parameters());
  run.state_files = Files{};
  EXPECT_EQ(bytes_written(model, run),
            2 * 7 * plan_files(model, run).written() + 3 * 12 * model.parameters());
}

Disk disk(const std::string& folder, uint64_t device, uint64_t free) {
  return {.folder = folder, .device = device, .free_bytes = free};
}

host::Memory with(uint64_t bytes) {
  return {.total_bytes = bytes,
          .available_bytes = bytes,
          .cgroup_limit_bytes = {},
          .cgroup_used_bytes = {}};
}
constexpr uint64_t kPlenty = uint64_t{1} << 50;

TEST(DiskPlan, FoldersOfOneFileSystemShareItsSpace) {
  const Model model = model_of(gpt2_small());
  RunShape run{.ranks = 2, .stage = 3, .checkpoints = 3};
  run.state_files = run.parameter_files = Files{};
  const auto files = plan_files(model, run);
  const uint64_t saved = 3 * checkpoint_bytes(model, run);
  const auto apart =
      plan_disks(model, run, {disk("/a", 1, 5), disk("/b", 2, 6), disk("/c", 3, 7)}, 2);
  ASSERT_EQ(apart.size(), 3u);
  EXPECT_EQ(apart[0].needed_bytes, 2 * (files.optimizer.kept + files.gradients.kept));
  EXPECT_EQ(apart[1].needed_bytes, 2 * files.parameters.kept);
  EXPECT_EQ(apart[2].needed_bytes, saved);
  const auto shared = plan_disks(
      model, run, {disk("/a", 1, kPlenty), disk("/a", 1, kPlenty), disk("/c", 1, kPlenty)}, 2);
  ASSERT_EQ(shared.size(), 1u);
  EXPECT_THAT(shared[0].folders, ElementsAre("/a", "/c"));
  EXPECT_EQ(shared[0].needed_bytes, 2 * files.kept() + saved);
  run.update_in_backward = true;  // every piece but of gradients has two places
  EXPECT_EQ(plan_disks(model, run, {.states = disk("/a", 1, 5)}, 2)[0].needed_bytes,
            2 * (2 * files.optimizer.kept + files.gradients.kept));
  EXPECT_EQ(plan_disks(model, run, {.parameters = disk("/b", 2, 6)}, 2)[0].needed_bytes,
            2 * 2 * files.parameters.kept);
  run.state_files->share = 0.5;
  EXPECT_EQ(plan_disks(model, run, {.parameters = disk("/b", 2, 6)}, 2)[0].needed_bytes,
            2 * files.parameters.kept);
}

TEST(Fit, ProposesFilesWhereMemoryDoesNotSuffice) {
  const Model model = model_of(gpt2_xl());
  const RunShape run{.ranks = 1, .stage = 2, .sequence_length = 16, .recompute = true};
  RunShape files = run;
  files.state_files = Files{};
  const Host host{with(plan_memory(model, files).peak()), 1, {.output = disk("/out", 1, kPlenty)}};
  const auto states = fit(model, run, host);
  ASSERT_TRUE(states.change);
  EXPECT_THAT(states.change->settings,
              ElementsAre("deepspeed.zero_optimization.offload_optimizer.device=nvme",
                          "deepspeed.zero_optimization.offload_optimizer.nvme_path=/out"));
  files.stage = 3;
  files.parameter_files = Files{.buffers = 5};
  Host small = host;
  small.memory = with(plan_memory(model, files).peak());
  const auto both = fit(model, run, small);
  ASSERT_TRUE(both.change);
  EXPECT_EQ(both.change->settings.size(), 5u);
  EXPECT_EQ(both.change->settings[0], "deepspeed.zero_optimization.stage=3");
  small.disks.output->free_bytes = 1 << 30;  // no room for them, nor for a checkpoint
  EXPECT_FALSE(fit(model, run, small).change);
  small.disks.output = disk("/out", 1, kPlenty);
  small.disks.output->kind = "tmpfs";  // memory by another name
  EXPECT_NE(fit(model, run, small).change.value_or(Change{}).ranks, 1);
}

TEST(Fit, PutsLessOnADiskThatIsTooSmall) {
  const Model model = model_of(gpt2_small());
  RunShape run{.ranks = 2, .stage = 1, .checkpoints = 3};
  run.state_files = Files{};
  RunShape less = run;
  less.state_files->share = 0.5;
  const auto needed = [&](const RunShape& r) {
    return plan_disks(model, r, {.states = disk("/nvme", 1, 0)}, 2).front().needed_bytes;
  };
  Host host{with(kPlenty), 2, {.states = disk("/nvme", 1, needed(less))}};
  auto result = fit(model, run, host);
  EXPECT_TRUE(result.fits_memory());
  EXPECT_FALSE(result.fits_disks());
  ASSERT_TRUE(result.change);
  EXPECT_THAT(result.change->settings,
              ElementsAre("deepspeed.zero_optimization.offload_optimizer.ratio=0.5"));
  EXPECT_THAT(refusal(result)->line(), HasSubstr("/nvme: "));
  EXPECT_EQ(refusal(result)->code(), ExitCode::kDoesNotFit);
  // Checkpoints on a disk of their own: two fit.
  host.disks = {disk("/nvme", 1, kPlenty), {}, disk("/out", 2, 2 * checkpoint_bytes(model, run))};
  result = fit(model, run, host);
  ASSERT_TRUE(result.change);
  EXPECT_THAT(result.change->settings, ElementsAre("keep=1"));
}

TEST(Fit, KeepsToWhatMayBeWritten) {
  const Model model = model_of(gpt2_small());
  RunShape run{.ranks = 2, .stage = 2, .steps = 100};
  run.state_files = Files{};
  run.max_bytes_written = bytes_written(model, run);
  EXPECT_TRUE(fit(model, run, {with(kPlenty), 2}).fits());
  run.max_bytes_written = *run.max_bytes_written - 1;
  const auto result = fit(model, run, {with(kPlenty), 2});
  EXPECT_FALSE(result.fits());
  EXPECT_EQ(refusal(result)->where(), "max_bytes_written");
  ASSERT_TRUE(result.change);
  EXPECT_THAT(result.change->settings,
              ElementsAre("deepspeed.zero_optimization.offload_optimizer.ratio=0.75"));
}

}  // namespace
}  // namespace hydrofoil::plan::file_plan_test
