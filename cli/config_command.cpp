// SPDX-License-Identifier: Apache-2.0
#include "cli/config_command.h"

#include <iostream>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "hydrofoil/config/batch.h"
#include "hydrofoil/config/elastic.h"
#include "hydrofoil/config/explain.h"
#include "hydrofoil/config/json.h"
#include "hydrofoil/config/run.h"
#include "hydrofoil/core/error.h"

namespace hydrofoil::cli {
namespace {

using namespace config;

struct ConfigOptions {
  std::string file;
  std::vector<std::string> set;
  int64_t ranks = 0;  // 0: not said
  bool json = false, all = false, diff = false, docs = false, deepspeed = false;
};

struct Reading {
  Report report;
  DeepSpeedConfig deepspeed;
  FileKind kind;
};

// A run file or a bare DeepSpeed file; what is wrong is in the report.
Reading read_file(const ConfigOptions& options) {
  const Value document = load_document(options.file, options.set);
  Reading reading;
  reading.kind = kind_of(document);
  reading.deepspeed = reading.kind == FileKind::kRun ? read_run(document, reading.report).deepspeed
                                                     : read_deepspeed(document, reading.report);
  return reading;
}

// The sizes of a step; where the ranks are not said, for some number of ranks that fits.
std::optional<BatchSizes> batch_of(const Reading& reading, const ConfigOptions& options) {
  const DeepSpeedConfig& c = reading.deepspeed;
  const BatchRequest request{c.train_batch_size, c.train_micro_batch_size_per_gpu,
                             c.gradient_accumulation_steps};
  const bool template_file = reading.kind == FileKind::kDeepSpeed && !c.train_batch_size &&
                             !c.train_micro_batch_size_per_gpu;
  if (options.ranks == 0 && (template_file || c.elasticity.enabled)) return std::nullopt;
  if (options.ranks > 0) return resolve_batch(c, options.ranks);
  return resolve_batch(request, ranks_for(request, 1).value_or(1), c.batch_place);
}

std::string batch_text(const BatchSizes& b) {
  return "batch: " + std::to_string(b.train_batch_size) +
         " sequences = " + std::to_string(b.micro_batch_size) + " x " +
         std::to_string(b.accumulation_steps) + " micro-batches x " + std::to_string(b.ranks) +
         (b.ranks == 1 ? " rank\n" : " ranks\n");
}

std::string elastic_text(const ElasticTable& table) {
  return "elastic: " + std::to_string(table.train_batch_size) + " sequences on " +
         table.ranks_text() + "\n";
}

// Every problem as an error of its own, in the form of docs/errors.md; 3 when there is one.
int print_problems(const Report& report, bool json) {
  for (const Problem& p : report.problems) {
    const Error error(ExitCode::kConfig, p.message, p.place.text(), p.hint);
    run_reporting_errors(json, [&]() -> int { throw error; });
  }
  return static_cast<int>(report.problems.empty() ? ExitCode::kOk : ExitCode::kConfig);
}

int check(const ConfigOptions& options) {
  Reading reading = read_file(options);
  std::optional<BatchSizes> batch;
  try {
    batch = batch_of(reading, options);
  } catch (const Error& error) {
    Place place{std::make_shared<const std::string>(error.where()), 0, 0};
    reading.report.add(error.what(), std::move(place), error.hint());
  }
  if (const int code = print_problems(reading.report, options.json); code != 0) return code;
  if (options.json) {
    std::cout << explain_json(reading.report, Show::kDifferences) << "\n";
    return 0;
  }
  std::cout << options.file << ": ok, " << summary(reading.report);
  if (batch) std::cout << batch_text(*batch);
  if (const auto& elasticity = reading.deepspeed.elasticity; elasticity.enabled)
    std::cout << elastic_text(elastic_table(elasticity));
  return 0;
}

int explain(const ConfigOptions& options) {
  const Reading reading = read_file(options);
  const Show show = options.all    ? Show::kEverything
                    : options.diff ? Show::kDifferences
                                   : Show::kRelevant;
  if (options.json) {
    std::cout << explain_json(reading.report, show) << "\n";
  } else {
    std::cout << explain_text(reading.report, show);
  }
  return print_problems(reading.report, false);
}

int print_schema(const ConfigOptions& options) {
  const FileKind kind = options.deepspeed ? FileKind::kDeepSpeed : FileKind::kRun;
  std::cout << (options.docs ? markdown() : schema(kind));
  return 0;
}

void add_file_options(CLI::App& app, const std::shared_ptr<ConfigOptions>& options) {
  app.add_option("file", options->file, "A run file, or a DeepSpeed JSON")->required();
  app.add_option("--set", options->set, "Override a key, for instance --set steps=10")
      ->type_name("KEY=VALUE")
      ->allow_extra_args(false);
  app.add_flag("--json", options->json, "For scripts: JSON on standard output");
}

}  // namespace

void add_config_command(CLI::App& app, Action& action) {
  const auto options = std::make_shared<ConfigOptions>();
  CLI::App* config = app.add_subcommand("config", "Check and explain the keys of a configuration");
  config->require_subcommand(1);

  CLI::App* check_app = config->add_subcommand("check", "Every problem of a file, with its place");
  add_file_options(*check_app, options);
  check_app->add_option("--ranks", options->ranks, "Check the batch sizes for so many ranks")
      ->check(CLI::PositiveNumber);
  check_app->callback([&action, options] { action = [options] { return check(*options); }; });

  CLI::App* explain_app = config->add_subcommand(
      "explain", "Value, origin and effect of each key that is set or that has an effect");
  add_file_options(*explain_app, options);
  CLI::Option* all = explain_app->add_flag("--all", options->all, "Every key there is");
  explain_app->add_flag("--diff", options->diff, "Only values that are not the default")
      ->excludes(all);
  explain_app->callback([&action, options] { action = [options] { return explain(*options); }; });

  CLI::App* schema_app = config->add_subcommand("schema", "JSON Schema of a run file, for editors");
  schema_app->add_flag("--deepspeed", options->deepspeed, "Of a DeepSpeed file instead");
  schema_app->add_flag("--docs", options->docs, "docs/config.md instead");
  schema_app->callback(
      [&action, options] { action = [options] { return print_schema(*options); }; });
}

}  // namespace hydrofoil::cli
