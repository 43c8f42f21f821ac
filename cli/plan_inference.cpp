// SPDX-License-Identifier: Apache-2.0
#include "cli/plan_inference.h"

#include <filesystem>
#include <iostream>
#include <memory>
#include <optional>
#include <span>
#include <utility>

#include "cli/model_arguments.h"
#include "cli/source_reader.h"
#include "hydrofoil/checkpoint/model_source.h"
#include "hydrofoil/core/error.h"
#include "hydrofoil/core/host.h"
#include "hydrofoil/core/log.h"
#include "hydrofoil/inference/probe.h"
#include "hydrofoil/inference/team.h"
#include "hydrofoil/io/async_io.h"
#include "hydrofoil/io/bench.h"
#include "hydrofoil/io/file.h"
#include "hydrofoil/plan/rates.h"
#include "hydrofoil/plan/serving.h"
#include "hydrofoil/text/tokenizer.h"

namespace hydrofoil::cli {
namespace {

// Of a config.json without weights: types are those that safetensors have here.
class NoWeights final : public inference::ModelReader {
 public:
  void read(const std::string&, size_t, std::span<float>) const override {}
};

// What this process holds with the model's tokenizer, as those that run the model will: its file is
// closed by then.
uint64_t runtime_bytes(const std::string& path) {
  std::optional<text::Tokenizer> tokenizer;
  if (auto spec = checkpoint::ModelSource(path).tokenizer()) tokenizer.emplace(*std::move(spec));
  return host::process_memory().rss_bytes;
}

struct Opened {
  spec::ModelSpec spec;
  std::shared_ptr<const inference::ModelReader> reader;
  uint64_t runtime_bytes = 0;
};

Opened open_model(const std::string& path) {
  if (std::filesystem::path(path).extension() == ".json")
    return {.spec = spec_from_config(io::read_text(path), path),
            .reader = std::make_shared<NoWeights>(),
            .runtime_bytes = host::process_memory().rss_bytes};
  const uint64_t runtime = runtime_bytes(path);
  const checkpoint::ModelSource source(path);
  for (const auto& line : source.settings_not_applied()) log::warn(line);
  return {.spec = source.spec(),
          .reader = std::make_shared<SourceReader>(source.weights()),
          .runtime_bytes = runtime};
}

// As layers are streamed from there.
double disk_speed(const std::filesystem::path& folder) {
  const io::AsyncIoOptions as_streamed;
  return 1e9 * io::bench({.folder = folder,
                          .file_bytes = uint64_t{256} << 20,
                          .block_bytes = {as_streamed.block_bytes},
                          .queue_depths = {as_streamed.queue_depth}})
                   .cases.front()
                   .read_gb_per_s;
}

inference::Speed speed_from(const SpeedArguments& a, kernels::Packing packing,
                            const std::filesystem::path& streamed_from) {
  inference::Speed speed;
  if (!a.rates.empty())
    speed = plan::speed_of(plan::rates_from_json(io::read_text(a.rates), a.rates), packing);
  if (a.tune) {
    inference::Team team(host::usable_cores());
    speed = inference::measure_speed(team, packing);
    if (!streamed_from.empty()) speed.disk_bytes_per_second = disk_speed(streamed_from);
  }
  if (a.gflops > 0) speed.flops_per_second = a.gflops * 1e9;
  if (a.memory_gbps > 0) speed.read_bytes_per_second = a.memory_gbps * 1e9;
  if (a.disk_gbps > 0) speed.disk_bytes_per_second = a.disk_gbps * 1e9;
  return speed;
}

}  // namespace

CLI::Option* add_inference_plan_options(CLI::App* command, InferencePlanArguments& a) {
  auto* inference = command->add_option(
      "--inference", a.model,
      "instead of a run: plan serving this model (Hugging Face folder, GGUF file, checkpoint, "
      "output of a run, or a config.json alone)");
  inference->type_name("MODEL");
  const auto packed = add_packed_options(command, a.packed);
  for (auto* option : {packed.type, packed.cache, packed.memory_cap, packed.stream_folder})
    option->needs(inference);
  command
      ->add_option("--context", a.context, "with --inference: positions of a text (default: all)")
      ->needs(inference)
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 24));
  command->add_option("--batch", a.batch, "with --inference: texts at a time")
      ->needs(inference)
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 16))
      ->capture_default_str();
  return inference;
}

int plan_inference(const InferencePlanArguments& a, const SpeedArguments& speed, bool json) {
  const Opened model = open_model(a.model);
  const plan::ServedModel served{model.spec, [&](inference::WeightType type) {
                                   return inference::outline_model(model.spec, *model.reader, type);
                                 }};
  const auto packing = plan::packing_of(served.outline(inference::kWeightTypes.at(a.packed.type)));
  const bool capped = a.packed.memory_cap > 0;
  const auto plan = plan::plan_serving(
      served,
      {.type = a.packed.type, .cache = a.packed.cache, .context = a.context, .batch = a.batch},
      {.usable_bytes = capped ? a.packed.memory_cap : host::memory().usable_bytes(),
       .threads = host::usable_cores(),
       .runtime_bytes = model.runtime_bytes,
       .streams = capped},
      speed_from(speed, packing, capped ? stream_folder(a.packed, a.model) : ""));
  std::cout << (json ? plan::to_json(plan) + "\n" : plan::to_text(plan));
  const auto error = plan::refusal(plan);
  if (!error) return static_cast<int>(ExitCode::kOk);
  std::cout.flush();
  std::cerr << "hydrofoil: error: " << error->line() << "\n";
  return static_cast<int>(error->code());
}

}  // namespace hydrofoil::cli
