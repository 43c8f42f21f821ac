// SPDX-License-Identifier: Apache-2.0
// The entries of libhydrofoil_train.so. Exceptions end here: none crosses into the program.
#include <string>

#include "cli/bench_products.h"
#include "cli/bench_train.h"
#include "cli/choice_json.h"
#include "cli/command_line.h"
#include "cli/eval_encoder_command.h"
#include "cli/plan_command.h"
#include "cli/replay_command.h"
#include "cli/train_command.h"
#include "cli/tune.h"
#include "hydrofoil/models/flash.h"
#include "hydrofoil/models/product.h"

namespace {

int run(hydrofoil::cli::Arguments arguments) {
  CLI::App app{"Hydrofoil"};
  app.name("hydrofoil");
  hydrofoil::cli::Action action;
  hydrofoil::cli::add_train_command(app, action);
  hydrofoil::cli::add_eval_encoder_command(app, action);
  hydrofoil::cli::add_replay_command(app, action);
  auto& bench = *app.add_subcommand("bench", "Measure this machine");
  hydrofoil::cli::add_bench_products(bench, action);
  hydrofoil::cli::add_bench_train(bench, action);
  hydrofoil::cli::add_plan_command(app, action, hydrofoil::cli::tune);
  app.require_subcommand(1);
  return hydrofoil::cli::parse_and_run(app, action, arguments);
}

}  // namespace

extern "C" [[gnu::visibility("default")]] int hydrofoil_run(int argc, char** argv) {
  const hydrofoil::cli::Arguments arguments(argv + 1, static_cast<size_t>(argc - 1));
  return hydrofoil::cli::run_reporting_errors(hydrofoil::cli::has_flag(arguments, "--json"),
                                              [&] { return run(arguments); });
}

// For doctor: choices_json of what is done with libtorch. Of a valid HYDROFOIL_ISA only.
extern "C" [[gnu::visibility("default")]] const char* hydrofoil_choices() noexcept {
  static const std::string json = [] {
    auto choices = hydrofoil::models::product_choices();
    choices.push_back(hydrofoil::models::attention_choice());
    return hydrofoil::cli::choices_json(choices).dump();
  }();
  return json.c_str();
}
