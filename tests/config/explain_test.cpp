// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/config/explain.h"

#include <fstream>
#include <sstream>

#include "tests/config/support.h"

namespace hydrofoil::config::explain_test {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

Report report_of(const std::string& text) {
  Report report;
  read_deepspeed(parse_json(text, "ds.json"), report);
  return report;
}

// The line of a text report that begins with `key`.
std::string line_of(const std::string& text, const std::string& key) {
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with(key + " ")) return line;
  }
  return {};
}

TEST(Explain, SaysValueOriginAndVerdictOfEachKey) {
  const std::string text = explain_text(
      report_of("{\"gradient_clipping\": 0.5,\n \"steps_per_print\": \"auto\",\n"
                " \"zero_optimization\": {\"stage\": 3, \"max_live_parameters\": 1e6,\n"
                "  \"overlap_comm\": true, \"cpu_offload\": true}}"),
      Show::kRelevant);
  EXPECT_THAT(line_of(text, "gradient_clipping"),
              AllOf(HasSubstr("0.5 norm"), HasSubstr("ds.json:1:23"), HasSubstr("honoured")));
  EXPECT_THAT(line_of(text, "steps_per_print"), HasSubstr("auto: default (ds.json:2:21)"));
  EXPECT_THAT(line_of(text, "zero_optimization.stage3_max_live_parameters"),
              AllOf(HasSubstr("1000000 elements"), HasSubstr("(max_live_parameters)"),
                    HasSubstr("mapped: resident_parameter_bytes")));
  EXPECT_THAT(line_of(text, "zero_optimization.overlap_comm"), HasSubstr("no effect: "));
  EXPECT_THAT(line_of(text, "zero_optimization.offload_optimizer.device"),
              AllOf(HasSubstr("\"cpu\""), HasSubstr("(cpu_offload)"), HasSubstr("no effect: ")));
  EXPECT_THAT(line_of(text, "optimizer.params.lr"),
              AllOf(HasSubstr("0.0003"), HasSubstr("default")));
  EXPECT_THAT(text, Not(HasSubstr("momentum")));            // belongs to another optimizer
  EXPECT_THAT(text, Not(HasSubstr("reduce_bucket_size")));  // neither set nor of any effect
}

TEST(Explain, KnowsWhatTheDeepSpeedSectionMakesEffective) {
  const std::string kSet = R"({"stochastic_rounding": true, "compute_dtype": "bf16",
      "resident_parameter_bytes": 1000, "deepspeed": )";
  const auto status = [&](const std::string& path, const std::string& deepspeed) {
    Report report;
    read_run(parse_json(kSet + deepspeed + "}", "run.json"), report);
    return report.find(path)->status;
  };
  const std::string pure = R"({"bf16": {"enabled": true, "bf16_master_weights_and_grads": true}})";
  for (const char* path : {"stochastic_rounding", "compute_dtype"}) {
    EXPECT_EQ(status(path, pure), Status::kHonoured) << path;
    EXPECT_EQ(status(path, "{}"), Status::kNoEffect) << path;
  }
  const std::string stage3 = R"({"zero_optimization": {"stage": 3}})";
  EXPECT_EQ(status("resident_parameter_bytes", stage3), Status::kHonoured);
}

TEST(Explain, SaysWhatNeedsAllGradientsBeforeTheFirstUpdate) {
  const auto row = [](const std::string& deepspeed) {
    Report report;
    const auto run = read_run(
        parse_json(R"({"update_in_backward": true, "deepspeed": )" + deepspeed + "}", "run.json"),
        report);
    const Row* found = report.find("update_in_backward");
    EXPECT_EQ(run.updates_in_backward(), found->status == Status::kHonoured) << deepspeed;
    return found->why;
  };
  EXPECT_EQ(row(R"({"gradient_clipping": 0})"), "");
  EXPECT_THAT(row("{}"), HasSubstr("gradient_clipping"));
  EXPECT_THAT(row(R"({"gradient_clipping": 0, "fp16": {"enabled": true}})"), HasSubstr("fp16"));
  EXPECT_THAT(row(R"({"gradient_clipping": 0, "optimizer": {"type": "Lamb"}})"), HasSubstr("Lamb"));
  EXPECT_EQ(row(R"({"gradient_clipping": 1, "fp16": {"enabled": true}, "zero_optimization": {
                "offload_optimizer": {"device": "nvme", "nvme_path": "/tmp"}}})"),
            "");
  Report report;
  const std::string asked = R"({"deepspeed": {"gradient_clipping": 0,
      "zero_optimization": {"stage": 3, "offload_optimizer": {"super_offload": true}}}})";
  EXPECT_TRUE(read_run(parse_json(asked, "run.json"), report).updates_in_backward());
}

TEST(Explain, ShowsEverythingOrDifferencesOnRequest) {
  const Report report = report_of(R"({"gradient_clipping": 1.0, "steps_per_print": 3})");
  EXPECT_THAT(explain_text(report, Show::kEverything),
              AllOf(HasSubstr("reduce_bucket_size"), HasSubstr("off: AMSGrad is not built")));
  const std::string differences = explain_text(report, Show::kDifferences);
  EXPECT_THAT(differences, HasSubstr("steps_per_print"));
  EXPECT_THAT(differences, Not(HasSubstr("gradient_clipping")));
}

TEST(Explain, JsonHoldsTheSameFacts) {
  const Value json = parse_json(
      explain_json(report_of(R"({"gradient_clipping": 0.5, "zzz": 1})"), Show::kDifferences),
      "out");
  ASSERT_EQ(json.find("keys")->array().size(), 1u);
  const Value& key = json.find("keys")->array()[0];
  EXPECT_EQ(key.find("key")->string(), "gradient_clipping");
  EXPECT_EQ(std::get<double>(key.find("value")->data), 0.5);
  EXPECT_EQ(std::get<double>(key.find("default")->data), 1.0);
  EXPECT_EQ(key.find("origin")->string(), "ds.json:1:23");
  EXPECT_EQ(key.find("status")->string(), "honoured");
  EXPECT_EQ(json.find("problems")->array()[0].find("where")->string(), "ds.json:1:28");
}

TEST(Explain, SummaryCountsAndNamesWhatHasNoEffect) {
  EXPECT_EQ(summary(report_of(R"({"gradient_clipping": 0.5, "log_level": "info"})")),
            "2 keys set: 1 honoured, 0 mapped, 1 without effect\n"
            "no effect: log_level (ds.json:1:41): use the program's own flags\n");
}

// Follows properties (through the first alternative) to a key of the schema.
const Value* schema_at(const Value& schema, const std::vector<std::string>& path) {
  const Value* at = &schema;
  for (const std::string& name : path) {
    if (const Value* any = at->find("anyOf")) at = &any->array().front();
    const Value* properties = at->find("properties");
    at = properties != nullptr ? properties->find(name) : nullptr;
    if (at == nullptr) return nullptr;
  }
  return at;
}

TEST(Schema, DescribesEveryKeyAndForbidsOthers) {
  for (const FileKind kind : {FileKind::kRun, FileKind::kDeepSpeed}) {
    const Value json = parse_json(schema(kind), "schema");
    const Report report =
        kind == FileKind::kRun ? describe_fields(RunConfig()) : describe_fields(DeepSpeedConfig());
    EXPECT_FALSE(std::get<bool>(json.find("additionalProperties")->data));
    for (const Row& row : report.rows) {
      std::vector<std::string> path;
      std::istringstream names(row.path);
      for (std::string name; std::getline(names, name, '.');) path.push_back(name);
      EXPECT_NE(schema_at(json, path), nullptr) << row.path;
    }
  }
}

TEST(Schema, CarriesTypeRangeDefaultAndStatus) {
  const Value json = parse_json(schema(FileKind::kDeepSpeed), "schema");
  const Value& stage = *schema_at(json, {"zero_optimization", "stage"});
  const Value& shape = stage.find("anyOf")->array().front();
  EXPECT_EQ(shape.find("type")->string(), "integer");
  EXPECT_EQ(std::get<double>(shape.find("maximum")->data), 3.0);
  EXPECT_EQ(std::get<int64_t>(stage.find("default")->data), 0);
  EXPECT_THAT(schema_at(json, {"amp", "enabled"})->find("description")->string(),
              HasSubstr("refused: "));
  EXPECT_NE(schema_at(json, {"bfloat16", "enabled"}), nullptr);
}

TEST(Documentation, PageIsCurrent) {
  std::ifstream file(CONFIG_DOCS "/config.md");
  std::stringstream page;
  page << file.rdbuf();
  EXPECT_EQ(page.str(), markdown()) << "run: hydrofoil config schema --docs > docs/config.md";
}

TEST(Documentation, NamesEveryKey) {
  const std::string page = markdown();
  for (const Row& row : describe_fields(RunConfig()).rows) {
    if (row.type == Type::kSection) continue;
    const std::string name = row.path.substr(row.path.rfind('.') + 1);
    EXPECT_THAT(page, HasSubstr(std::string("`").append(name).append("`")));
  }
}

}  // namespace
}  // namespace hydrofoil::config::explain_test
