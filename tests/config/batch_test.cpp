// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/config/batch.h"

#include <set>
#include <tuple>

#include "tests/config/support.h"

namespace hydrofoil::config::batch_test {
namespace {

using testing::HasSubstr;

constexpr int64_t kNone = 0;  // absent in the table

std::optional<int64_t> given(int64_t n) {
  return n == kNone ? std::nullopt : std::optional<int64_t>(n);
}
BatchRequest request(int64_t total, int64_t micro, int64_t steps) {
  return {given(total), given(micro), given(steps)};
}

struct Row {
  int64_t total, micro, steps, ranks;  // asked
  BatchSizes sizes;                    // all zero: an error
};

TEST(Batch, TableOfRequests) {
  const BatchSizes error{};
  const Row rows[] = {
      // all three
      {8, 2, 2, 2, {8, 2, 2, 2}},
      {1, 1, 1, 1, {1, 1, 1, 1}},
      {96, 4, 3, 8, {96, 4, 3, 8}},
      {17, 17, 1, 1, {17, 17, 1, 1}},
      {8, 2, 2, 1, error},
      {8, 2, 2, 3, error},
      {9, 2, 2, 2, error},
      {16, 2, 2, 2, error},
      {1, 1, 1, 2, error},
      // total and micro-batch
      {8, 2, kNone, 1, {8, 2, 4, 1}},
      {8, 2, kNone, 2, {8, 2, 2, 2}},
      {8, 2, kNone, 4, {8, 2, 1, 4}},
      {97, 97, kNone, 1, {97, 97, 1, 1}},
      {12, 4, kNone, 3, {12, 4, 1, 3}},
      {8, 2, kNone, 3, error},
      {8, 3, kNone, 1, error},
      {8, 2, kNone, 8, error},
      {4, 8, kNone, 1, error},
      // total and accumulation
      {8, kNone, 2, 1, {8, 4, 2, 1}},
      {8, kNone, 2, 2, {8, 2, 2, 2}},
      {8, kNone, 8, 1, {8, 1, 8, 1}},
      {51, kNone, 3, 17, {51, 1, 3, 17}},
      {8, kNone, 3, 1, error},
      {8, kNone, 2, 3, error},
      {8, kNone, 2, 8, error},
      // micro-batch and accumulation
      {kNone, 2, 3, 1, {6, 2, 3, 1}},
      {kNone, 2, 3, 4, {24, 2, 3, 4}},
      {kNone, 1, 1, 1, {1, 1, 1, 1}},
      {kNone, 17, 97, 3, {4947, 17, 97, 3}},
      // one of them
      {8, kNone, kNone, 1, {8, 8, 1, 1}},
      {8, kNone, kNone, 4, {8, 2, 1, 4}},
      {8, kNone, kNone, 8, {8, 1, 1, 8}},
      {8, kNone, kNone, 3, error},
      {2, kNone, kNone, 3, error},
      {kNone, 4, kNone, 1, {4, 4, 1, 1}},
      {kNone, 4, kNone, 3, {12, 4, 1, 3}},
      // too little
      {kNone, kNone, kNone, 1, error},
      {kNone, kNone, 4, 1, error},
      {kNone, kNone, 4, 2, error},
      // large
      {1 << 20, 1 << 10, kNone, 4, {1 << 20, 1 << 10, 256, 4}},
      {int64_t{1} << 62, 1, kNone, 2, {int64_t{1} << 62, 1, int64_t{1} << 61, 2}},
  };
  for (const Row& row : rows) {
    const BatchRequest r = request(row.total, row.micro, row.steps);
    BatchSizes sizes{};
    const std::string line = error_of([&] { sizes = resolve_batch(r, row.ranks); });
    EXPECT_EQ(line.empty(), row.sizes != error) << line;
    EXPECT_EQ(sizes, row.sizes) << row.total << " " << row.micro << " " << row.steps << " "
                                << row.ranks;
  }
}

// DeepSpeed's own arithmetic: derive by integer division, then assert. {0} when it asserts.
BatchSizes deepspeed_says(int64_t t, int64_t m, int64_t g, int64_t w) {
  if (t && m && !g)
    g = t / m / w;
  else if (t && g && !m)
    m = t / w / g;
  else if (m && !t)
    g = g ? g : 1, t = m * g * w;
  else if (t && !m && !g)
    g = 1, m = t / w;
  const bool legal = t > 0 && m > 0 && g > 0 && t == m * g * w;
  return legal ? BatchSizes{t, m, g, w} : BatchSizes{};
}

TEST(Batch, AgreesWithDeepSpeedAndItsRepairsAreLegal) {
  int errors = 0;
  for (int64_t t = 0; t <= 26; ++t) {
    for (int64_t m = 0; m <= 7; ++m) {
      for (int64_t g = 0; g <= 5; ++g) {
        for (int64_t w = 1; w <= 5; ++w) {
          const BatchRequest r = request(t, m, g);
          BatchSizes sizes{};
          const std::string line = error_of([&] { sizes = resolve_batch(r, w); });
          ASSERT_EQ(sizes, deepspeed_says(t, m, g, w)) << t << " " << m << " " << g << " " << w;
          if (line.empty() || t == 0) continue;
          ++errors;
          const auto repairs = batch_repairs(r, w);
          ASSERT_EQ(repairs.size(), 3u) << line;
          std::set<std::tuple<int64_t, int64_t, int64_t, int64_t>> distinct;
          for (const BatchSizes& s : repairs) {
            ASSERT_EQ(s, deepspeed_says(s.train_batch_size, s.micro_batch_size,
                                        s.accumulation_steps, s.ranks))
                << line;
            distinct.insert(
                {s.train_batch_size, s.micro_batch_size, s.accumulation_steps, s.ranks});
          }
          ASSERT_EQ(distinct.size(), 3u) << line;
        }
      }
    }
  }
  EXPECT_GT(errors, 1000);
}

TEST(Batch, ContradictionListsThreeRepairs) {
  EXPECT_EQ(error_of([] { resolve_batch(request(32, 4, 2), 2, "ds.json:2:23"); }),
            "ds.json:2:23: train_batch_size 32 is not train_micro_batch_size_per_gpu 4 x "
            "gradient_accumulation_steps 2 x 2 ranks = 16 (legal: train_batch_size 16, "
            "train_micro_batch_size_per_gpu 8, or gradient_accumulation_steps 4)");
}

TEST(Batch, RepairsOfADerivedValue) {
  EXPECT_EQ(
      error_of([] { resolve_batch(request(10, 4, kNone), 2); }),
      "train_batch_size 10 is not a multiple of train_micro_batch_size_per_gpu 4 x 2 ranks = 8 "
      "(legal: train_batch_size 8, train_micro_batch_size_per_gpu 1, or train_batch_size 16)");
  EXPECT_THAT(error_of([] { resolve_batch(request(10, kNone, kNone), 4); }),
              HasSubstr("(legal: train_batch_size 8, 2 ranks, or train_batch_size 12)"));
}

TEST(Batch, NothingGivenSaysWhatToSet) {
  EXPECT_EQ(error_of([] { resolve_batch(request(kNone, kNone, 4), 2); }),
            "neither train_batch_size nor train_micro_batch_size_per_gpu is set (set "
            "train_micro_batch_size_per_gpu, e.g. to 1)");
}

TEST(Batch, OverflowIsAnError) {
  EXPECT_THAT(error_of([] { resolve_batch(request(kNone, INT64_MAX / 2, 3), 2); }),
              HasSubstr("does not fit into 64 bits"));
}

TEST(Batch, RanksThatFit) {
  EXPECT_EQ(ranks_for(request(32, 4, 2), 1), 4);
  EXPECT_EQ(ranks_for(request(33, 4, 2), 1), std::nullopt);
  EXPECT_EQ(ranks_for(request(12, 2, kNone), 4), 3);
  EXPECT_EQ(ranks_for(request(kNone, 2, kNone), 4), 4);
}

TEST(Batch, MeshMustMatchTheRanks) {
  const DeepSpeedConfig config =
      deepspeed_of(R"({"train_micro_batch_size_per_gpu": 1, "mesh": {"dp": 2}})");
  EXPECT_EQ(resolve_batch(config, 2).train_batch_size, 2);
  EXPECT_THAT(error_of([&] { resolve_batch(config, 3); }),
              HasSubstr("mesh.dp is 2, the run has 3 ranks"));
}

TEST(Batch, RanksThatShareSequencesCountOnce) {
  const DeepSpeedConfig config =
      deepspeed_of(R"({"train_micro_batch_size_per_gpu": 3, "mesh": {"sp": 2}})");
  EXPECT_EQ(resolve_batch(config, 8), (BatchSizes{12, 3, 1, 4}));
  const DeepSpeedConfig stages =
      deepspeed_of(R"({"train_micro_batch_size_per_gpu": 3, "mesh": {"pp": 2, "sp": 2}})");
  EXPECT_EQ(resolve_batch(stages, 8), (BatchSizes{6, 3, 1, 2}));
  EXPECT_THAT(error_of([&] { resolve_batch(stages, 6); }),
              HasSubstr("mesh.pp is 2 and mesh.sp is 2, the run has 6 ranks"));
  EXPECT_THAT(error_of([&] { resolve_batch(config, 3); }),
              testing::AllOf(HasSubstr("mesh.sp is 2, the run has 3 ranks"),
                             HasSubstr("start 2 ranks, or lower an axis")));
}

}  // namespace
}  // namespace hydrofoil::config::batch_test
