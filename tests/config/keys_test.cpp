// SPDX-License-Identifier: Apache-2.0
// Every key of DeepSpeed is decided on (keys.txt), and every key that claims an effect has one.
#include <fstream>
#include <map>
#include <sstream>

#include "hydrofoil/config/tree.h"
#include "tests/config/support.h"

namespace hydrofoil::config::keys_test {
namespace {

std::string declared_status(const Row& row) {
  const bool refused_choice =
      std::any_of(row.key.choices.begin(), row.key.choices.end(),
                  [](const Choice& choice) { return choice.status == Status::kRefused; });
  const std::string status(name_of(row.key.status));
  return refused_choice && row.key.status != Status::kRefused ? status + ", partly refused"
                                                              : status;
}

TEST(Keys, TableOfEveryDeepSpeedKeyIsCurrent) {
  std::map<std::string, std::string> expected, actual;
  std::ifstream file(CONFIG_TESTS "/keys.txt");
  for (std::string line; std::getline(file, line);) {
    if (line.empty() || line[0] == '#') continue;
    const size_t space = line.find(' ');
    expected[line.substr(0, space)] = line.substr(line.find_first_not_of(' ', space));
  }
  for (const Row& row : describe_fields(DeepSpeedConfig()).rows) {
    if (row.type != Type::kSection) actual[row.path] = declared_status(row);
  }
  EXPECT_EQ(expected, actual);
  EXPECT_GT(actual.size(), 300u);
}

TEST(Keys, RefusalsSayWhyAndWhatWorks) {
  for (const Row& row : describe_fields(RunConfig()).rows) {
    if (row.key.status == Status::kRefused) {
      EXPECT_NE(row.why.find("; "), std::string::npos) << row.path << ": " << row.why;
    }
    if (row.key.status == Status::kMapped || row.key.status == Status::kNoEffect) {
      EXPECT_TRUE(!row.why.empty() || !row.key.choices.empty()) << row.path;
    }
    for (const Choice& choice : row.key.choices) {
      EXPECT_EQ(choice.status == Status::kHonoured, choice.why.empty()) << row.path;
    }
  }
}

TEST(Keys, OnlyStoredKeysClaimAnEffect) {
  for (const Row& row : describe_fields(RunConfig()).rows) {
    const bool claims = row.status == Status::kHonoured || row.status == Status::kMapped;
    const bool rewritten = row.path.find(".cpu_offload") != std::string::npos;
    if (row.type == Type::kSection || row.stored || rewritten) continue;
    EXPECT_FALSE(claims) << row.path;
    for (const Choice& choice : row.key.choices) {
      EXPECT_NE(choice.status, Status::kHonoured) << row.path;
    }
  }
}

// Another legal value for a key, as JSON.
Value flipped(const Row& row) {
  switch (row.type) {
    case Type::kBool:
      return parse_json(dump_json(row.value) == "true" ? "false" : "true", "flip");
    case Type::kInteger: {
      const int64_t old = row.value.is_null() ? 0 : std::get<int64_t>(row.value.data);
      const bool at_top = row.key.max && static_cast<double>(old) >= *row.key.max;
      return parse_json(std::to_string(at_top ? old - 1 : old + 1), "flip");
    }
    case Type::kNumber:
      return parse_json(dump_json(row.value) == "0.0005" ? "0.0004" : "0.0005", "flip");
    case Type::kChoice:
      for (const Choice& choice : row.key.choices) {
        if (choice.status != Status::kRefused && choice.name != row.value.string()) {
          return make_string(choice.name);
        }
      }
      return {};
    case Type::kList:
      if (row.key.unit == "sequences") return parse_json("[3, 5]", "flip");
      return parse_json(
          row.key.path || row.path.ends_with("_ops") ? "[\"other.txt\"]" : "[0.5, 0.75]", "flip");
    case Type::kAny:
      return parse_json("{\"model_type\": \"gpt2\"}", "flip");
    default:
      return make_string("other.prom");
  }
}

TEST(Keys, FlippingAnyKeyThatClaimsAnEffectChangesTheConfiguration) {
  std::vector<std::string> contexts = {R"({"deepspeed": {"zero_optimization": {
      "offload_optimizer": {"device": "nvme", "nvme_path": "/tmp"}}}})"};
  for (const char* optimizer : {"AdamW", "Adam", "SGD", "Lamb", "Lion", "Adagrad"}) {
    for (const char* scheduler : {"Constant", "WarmupLR", "WarmupDecayLR", "WarmupCosineLR",
                                  "OneCycle", "LRRangeTest", "Cosine"}) {
      contexts.push_back(std::string(R"({"deepspeed": {"zero_optimization": {"stage": 3},
          "optimizer": {"type": ")") +
                         optimizer + R"("}, "scheduler": {"type": ")" + scheduler + "\"}}}");
    }
  }
  contexts.push_back(R"({"deepspeed": {"bf16": {"bf16_master_weights_and_grads": true}}})");
  contexts.push_back(
      R"({"deepspeed": {"optimizer": {"type": "Lamb", "params": {"min_coeff": 0}}}})");
  int flips = 0;
  for (const Row& row : describe_fields(RunConfig()).rows) {
    const bool claims = row.key.status == Status::kHonoured || row.key.status == Status::kMapped;
    if (!claims || !row.stored || row.path == "version") continue;
    bool changed = false;
    for (const std::string& context : contexts) {
      Value document = parse_json(context, "t");
      Report before, after;
      const std::string base = resolved_json(read_run(document, before));
      const Row* in_context = before.find(row.path);
      set_path(document, row.path, flipped(*in_context));
      const std::string result = resolved_json(read_run(document, after));
      const bool rejected = after.problems.size() > before.problems.size();
      changed = !rejected && result != base;
      if (changed) break;
    }
    EXPECT_TRUE(changed) << row.path << " changes nothing";
    ++flips;
  }
  EXPECT_GT(flips, 60);
}

}  // namespace
}  // namespace hydrofoil::config::keys_test
