// SPDX-License-Identifier: Apache-2.0
// Mutated texts: whatever comes in, the answer is a value or an Error, and a value dumped and
// parsed again is the same value.
#include <random>

#include "tests/config/support.h"

namespace hydrofoil::config::json_fuzz_test {
namespace {

const char* const kSeeds[] = {
    R"({"train_batch_size": 8, "zero_optimization": {"stage": 3, "offload_param": {"device": "cpu"}},
 "optimizer": {"type": "AdamW", "params": {"lr": 3e-4, "betas": [0.9, 0.95]}}, // c
 "fp16": {"enabled": false, "loss_scale": 0.0}, /* x */ "csv_monitor": {"enabled": true,},})",
    R"({"version":1,"model":{"path":"m"},"data":{"train":["a.txt"]},"steps":10,"mesh":{"tp":1},
"deepspeed":{"train_micro_batch_size_per_gpu":"auto","zero_optimization":true}})",
    "[1,-2.5e3,\"\\u20ac\\ud83d\\ude00\",true,null,{\"\":[[]]}]",
};

std::string mutate(std::string text, std::mt19937_64& random) {
  static constexpr std::string_view kBytes =
      "{}[]\",:\\/*#0123456789.eE+-truefalsn \n\t\xff\xc3\x80";
  const int edits = 1 + static_cast<int>(random() % 8);
  for (int i = 0; i < edits && !text.empty(); ++i) {
    const size_t at = random() % text.size();
    const char byte = kBytes[random() % kBytes.size()];
    switch (random() % 5) {
      case 0:
        text[at] = byte;
        break;
      case 1:
        text.insert(at, 1, byte);
        break;
      case 2:
        text.erase(at, 1 + random() % 9);
        break;
      case 3:
        text.insert(at, text.substr(random() % text.size(), random() % 40));
        break;
      default:
        text.resize(at);
    }
  }
  return text;
}

TEST(JsonFuzz, AnswersEveryTextWithAValueOrAnError) {
  std::mt19937_64 random(17);
  int accepted = 0;
  for (int round = 0; round < 20000; ++round) {
    const std::string text = mutate(kSeeds[round % std::size(kSeeds)], random);
    try {
      const Value value = parse_json(text, "fuzz");
      const std::string once = dump_json(value);
      ASSERT_EQ(dump_json(parse_json(once, "again")), once) << text;
      ++accepted;
    } catch (const Error& error) {
      ASSERT_EQ(error.code(), ExitCode::kConfig);
      ASSERT_THAT(error.where(), testing::StartsWith("fuzz:")) << text;
    }
  }
  EXPECT_GT(accepted, 500);  // else the mutations are too coarse to reach anything
}

TEST(JsonFuzz, ReadersReportInsteadOfCrashing) {
  std::mt19937_64 random(97);
  int read = 0;
  for (int round = 0; round < 3000; ++round) {
    const std::string text = mutate(kSeeds[round % 2], random);
    try {
      Report report;
      const Value value = parse_json(text, "fuzz");
      if (round % 2 == 0) {
        read_deepspeed(value, report);
      } else {
        read_run(value, report);
      }
      for (const Problem& problem : report.problems) ASSERT_FALSE(problem.message.empty());
      ++read;
    } catch (const Error&) {
    }
  }
  EXPECT_GT(read, 100);
}

}  // namespace
}  // namespace hydrofoil::config::json_fuzz_test
