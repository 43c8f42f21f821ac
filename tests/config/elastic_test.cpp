// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/config/elastic.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/config/support.h"

namespace hydrofoil::config::elastic_test {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

// The configuration DeepSpeed's documentation and tests use.
ElasticityConfig known() {
  return {.enabled = true,
          .max_train_batch_size = 10000,
          .micro_batch_sizes = {8, 12, 16, 17},
          .min_gpus = 32,
          .max_gpus = 1500,
          .version = 0.1};
}

// 9792 sequences on 23 numbers of ranks: DeepSpeed's own figures.
TEST(Elastic, TableOfTheKnownConfiguration) {
  const auto table = elastic_table(known());
  EXPECT_EQ(table.train_batch_size, 9792);
  EXPECT_EQ(table.ranks.size(), 23u);
  for (const int64_t ranks : table.ranks) {
    EXPECT_EQ(table.train_batch_size % ranks, 0);
    const auto sizes = elastic_batch(known(), ranks);
    EXPECT_EQ(sizes.micro_batch_size * sizes.accumulation_steps * ranks, 9792);
  }
  EXPECT_EQ(elastic_batch(known(), 64).micro_batch_size, 17);
}

TEST(Elastic, MicroBatchIsTheLargestThatDividesARanksShare) {
  ElasticityConfig config{
      .enabled = true, .max_train_batch_size = 32, .micro_batch_sizes = {1, 2, 3, 7}};
  config.version = 0.1;
  EXPECT_EQ(elastic_batch(config, 8), (BatchSizes{24, 3, 1, 8}));
  EXPECT_EQ(elastic_batch(config, 6), (BatchSizes{24, 2, 2, 6}));
}

// Above the limit, it is no candidate: 6 x 5 > 24.
TEST(Elastic, ALeastCommonMultipleMayBeTooLarge) {
  ElasticityConfig config{.enabled = true, .max_train_batch_size = 24, .micro_batch_sizes = {5, 6}};
  config.version = 0.1;
  EXPECT_EQ(elastic_table(config).train_batch_size, 24);
}

// 72 and 96 both have eleven numbers of ranks.
TEST(Elastic, PrefersTheLargerOrTheSmallerOfEquals) {
  ElasticityConfig config{.enabled = true,
                          .max_train_batch_size = 97,
                          .micro_batch_sizes = {2, 3},
                          .min_gpus = 1,
                          .max_gpus = 50,
                          .version = 0.1};
  EXPECT_EQ(elastic_table(config).train_batch_size, 96);
  EXPECT_THAT(elastic_table(config).ranks, ElementsAre(1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48));
  config.prefer_larger_batch = false;
  EXPECT_EQ(elastic_table(config).train_batch_size, 72);
}

TEST(Elastic, Version2CountsWholeNodes) {
  ElasticityConfig config = known();
  config.version = 0.2;
  config.num_gpus_per_node = 8;
  for (const int64_t ranks : elastic_table(config).ranks) EXPECT_EQ(ranks % 8, 0);
  config.model_parallel_size = 3;
  EXPECT_THAT(error_of([&] { elastic_table(config); }), HasSubstr("not a multiple of"));
}

TEST(Elastic, RefusesOtherNumbersOfRanks) {
  ElasticityConfig config{.enabled = true, .max_train_batch_size = 12, .version = 0.1};
  config.micro_batch_sizes = {2};
  EXPECT_THAT(error_of([&] { elastic_batch(config, 5); }),
              HasSubstr("5 ranks do not divide the elastic batch of 12 sequences (legal: 1, 2, 3, "
                        "6 ranks)"));
  config.micro_batch_sizes = {2, 13};
  EXPECT_THAT(error_of([&] { elastic_table(config); }), HasSubstr("above the largest batch of 12"));
}

TEST(Elastic, TakesThePlaceOfTheBatchKeys) {
  const auto config = deepspeed_of(R"({"elasticity": {"enabled": true,
      "max_train_batch_size": 12, "micro_batch_sizes": [2, 3], "version": 0.1}})");
  EXPECT_EQ(resolve_batch(config, 4), (BatchSizes{12, 3, 1, 4}));
  EXPECT_THAT(deepspeed_problems(R"({"train_batch_size": 8, "elasticity": {"enabled": true}})"),
              ElementsAre(HasSubstr("elasticity chooses the batch")));
  EXPECT_THAT(deepspeed_problems(R"({"train_batch_size": 8, "elasticity": {"enabled": true,
      "ignore_non_elastic_batch_info": true}})"),
              ElementsAre());
  EXPECT_THAT(deepspeed_problems(R"({"elasticity": {"micro_batch_sizes": [2, 0]}})"),
              ElementsAre(HasSubstr("micro_batch_sizes")));
}

}  // namespace
}  // namespace hydrofoil::config::elastic_test
