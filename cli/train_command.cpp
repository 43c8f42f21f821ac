// SPDX-License-Identifier: Apache-2.0
#include "cli/train_command.h"

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "cli/local_ranks.h"
#include "hydrofoil/comm/communicator.h"
#include "hydrofoil/config/batch.h"
#include "hydrofoil/config/run.h"
#include "hydrofoil/core/error.h"
#include "hydrofoil/train/agreement.h"
#include "hydrofoil/train/trainer.h"

namespace hydrofoil::cli {
namespace {

namespace fs = std::filesystem;

struct TrainArguments {
  std::string run_file, deepspeed, model, output, resume, backend;
  std::vector<std::string> data, set;
  int ranks = 1;
  bool json = false, trace = false;
};

config::RunConfig load(TrainArguments arguments) {
  if (!arguments.output.empty())
    arguments.set.push_back("output=" + fs::absolute(arguments.output).string());
  if (!arguments.backend.empty()) arguments.set.push_back("comm.backend=" + arguments.backend);
  if (arguments.trace) arguments.set.insert(arguments.set.begin(), "trace.steps=3");
  if (arguments.run_file.empty() == arguments.model.empty())
    throw Error(ExitCode::kUsage, "give a run file, or --model and --data", {},
                "see hydrofoil train --help");
  auto run = arguments.run_file.empty() ? config::run_from_flags({.model = arguments.model,
                                                                  .data = arguments.data,
                                                                  .deepspeed = arguments.deepspeed},
                                                                 arguments.set)
                                        : config::load_run(arguments.run_file, arguments.set);
  if (run.output.empty()) run.output = "runs/train";
  return run;
}

int train_rank(const TrainArguments& arguments, const comm::Communicator& world,
               config::RunConfig run) {
  train::TrainerOptions options{
      .resume = std::nullopt, .json = arguments.json, .created_by = version_line()};
  if (!arguments.resume.empty())
    options.resume = arguments.resume == "auto" ? fs::path() : fs::path(arguments.resume);
  try {
    train::Trainer trainer(world, std::move(run), std::move(options));
    return static_cast<int>(trainer.run());
  } catch (const train::EchoedError& error) {
    return static_cast<int>(error.code());  // rank 0 says it
  }
}

int train(const TrainArguments& arguments) {
  // In the parent too: what is wrong is said once, before N processes start.
  auto run = load(arguments);
  config::resolve_batch(run.deepspeed, ranks_of_job(arguments.ranks));
  const std::string backend = run.comm.backend;
  return run_on_ranks(arguments.ranks, backend, [&](const comm::Communicator& world) {
    return train_rank(arguments, world, std::move(run));
  });
}

}  // namespace

void add_train_command(CLI::App& app, Action& action) {
  auto* command = app.add_subcommand(
      "train", "Train a model: pretraining or fine-tuning, on any number of ranks");
  auto arguments = std::make_shared<TrainArguments>();
  command->add_option("RUN", arguments->run_file, "run file (JSON); see docs/config.md");
  command->add_option("--model", arguments->model,
                      "instead of a run file: HF config.json (from scratch) or model folder");
  command->add_option("--data", arguments->data, "with --model: UTF-8 text files");
  command->add_option("--deepspeed", arguments->deepspeed, "with --model: a DeepSpeed JSON");
  command->add_option("--output", arguments->output,
                      "folder of the run: checkpoints, records, tokenizer");
  command
      ->add_option("--ranks", arguments->ranks,
                   "processes to start on this host; ignored under torchrun, mpirun, srun")
      ->check(CLI::Range(1, 64))
      ->capture_default_str();
  command->add_option("--comm", arguments->backend, kBackendHelp);
  command->add_option(
      "--resume", arguments->resume,
      "auto: go on from the newest complete checkpoint of the output, if any; or a checkpoint");
  command->add_option("--set", arguments->set, "override a key of the run file: a.b=c");
  command->add_flag("--trace", arguments->trace,
                    "record a timeline of three steps: trace.json for ui.perfetto.dev");
  command->add_flag("--json", arguments->json, "one JSON object a line on standard output");
  command->footer(
      "Examples:\n"
      "  hydrofoil train run.json --ranks 2\n"
      "  hydrofoil train run.json --resume auto --ranks 3 --set steps=1000\n"
      "  hydrofoil train --model gpt2-config.json --data corpus.txt --deepspeed ds.json\n"
      "  torchrun --no-python --nproc_per_node 2 hydrofoil train run.json\n"
      "Ctrl-C ends after the current step (exit 130), twice at once; SIGTERM saves first (exit "
      "75).");
  command->callback([&action, arguments] { action = [arguments] { return train(*arguments); }; });
}

}  // namespace hydrofoil::cli
