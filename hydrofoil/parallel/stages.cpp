// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/parallel/stages.h"

#include <array>
#include <regex>
#include <vector>

#include "hydrofoil/core/error.h"

namespace hydrofoil::parallel {
namespace {

constexpr std::string_view kType = "type:";

// Of the embedding, every layer, the head.
std::vector<double> weights_of_blocks(const spec::ModelSpec& spec, double embedding, double layer,
                                      double head) {
  std::vector<double> weights(static_cast<size_t>(spec.layers) + 2, layer);
  weights.front() = embedding, weights.back() = head;
  return weights;
}

std::vector<double> arithmetic(const spec::ModelSpec& spec, int64_t sequence_length) {
  spec::ModelSpec none = spec;
  none.layers = 0;
  const double head = spec::flops_per_token(none, sequence_length);
  const double layers = spec::flops_per_token(spec, sequence_length) - head;
  return weights_of_blocks(spec, 0, layers / static_cast<double>(spec.layers), head);
}

std::vector<double> parameters(const spec::ModelSpec& spec) {
  std::vector<double> weights;
  for (const auto& block : spec::blocks(spec)) {
    double& sum = weights.emplace_back(0);
    for (const auto& parameter : block.parameters) sum += static_cast<double>(parameter.numel());
  }
  return weights;
}

std::vector<double> matches(const spec::ModelSpec& spec, const std::string& pattern) {
  try {
    const std::regex regex(pattern, std::regex::ECMAScript | std::regex::icase);
    const auto weight = [&](const char* name) { return std::regex_search(name, regex) ? 1.0 : 0; };
    return weights_of_blocks(spec, weight("embedding"), weight("layer"), weight("head"));
  } catch (const std::regex_error& error) {
    throw Error(ExitCode::kConfig, "'" + pattern + "' is no regular expression: " + error.what(),
                "pipeline.partition");
  }
}

}  // namespace

std::string_view name_of(ScheduleKind kind) {
  constexpr std::array<std::string_view, 4> kNames = {"1f1b", "gpipe", "interleaved",
                                                      "zero_bubble"};
  return kNames[static_cast<size_t>(kind)];
}

Schedule schedule_of(const PipelineChoice& choice, int micro_batches) {
  const PipelineShape shape = choice.shape(micro_batches);
  switch (choice.schedule) {
    case ScheduleKind::kOneForwardOneBackward:
      return one_f_one_b(shape);
    case ScheduleKind::kGPipe:
      return gpipe(shape);
    case ScheduleKind::kInterleaved:
      return interleaved(shape);
    case ScheduleKind::kZeroBubble:
      return zero_bubble(shape);
  }
  throw std::logic_error("unknown schedule");
}

std::vector<Task> tasks_of(const PipelineChoice& choice, int micro_batches, int stage) {
  const PipelineShape shape = choice.shape(micro_batches);
  switch (choice.schedule) {
    case ScheduleKind::kOneForwardOneBackward:
      return one_f_one_b_tasks(shape, stage);
    case ScheduleKind::kGPipe:
      return gpipe_tasks(shape, stage);
    case ScheduleKind::kInterleaved:
      return interleaved_tasks(shape, stage);
    case ScheduleKind::kZeroBubble:
      return zero_bubble_tasks(shape, stage);
  }
  throw std::logic_error("unknown schedule");
}

Cuts cut_blocks(const spec::ModelSpec& spec, const PipelineChoice& choice, int64_t sequence_length,
                const std::string& partition, BlockTimes measured) {
  const auto links = static_cast<size_t>(choice.links());
  if (choice.links() > spec.layers)
    throw Error(ExitCode::kConfig,
                std::to_string(choice.stages) + " stages" +
                    (choice.chunks > 1 ? " of " + std::to_string(choice.chunks) + " chunks" : "") +
                    " are more than the model's " + std::to_string(spec.layers) + " layers",
                "mesh.pp",
                "set it to " + std::to_string(std::max<int64_t>(1, spec.layers / choice.chunks)) +
                    " at most");
  if (partition == "uniform") return cut_uniformly(static_cast<size_t>(spec.layers) + 2, links);
  if (partition == "best") return cut_evenly(arithmetic(spec, sequence_length), links);
  if (partition == "measured")
    return cut_evenly(weights_of_blocks(spec, 0, measured.layer, measured.head), links);
  if (partition == "parameters") return cut_evenly(parameters(spec), links);
  if (partition.starts_with(kType))
    return cut_evenly(matches(spec, partition.substr(kType.size())), links);
  throw Error(ExitCode::kConfig, "'" + partition + "' is no partition", "pipeline.partition",
              "use best, uniform, parameters, measured or type:REGEX");
}

spec::HeldBlocks held_blocks(const Cuts& cuts, int stages, int stage) {
  if (stages == 1) return {};
  spec::HeldBlocks held(cuts.back());
  for (size_t block = 0, link = 0; block < held.size(); ++block) {
    while (block >= cuts[link + 1]) ++link;
    held[block] = static_cast<int>(link) % stages == stage;
  }
  return held;
}

}  // namespace hydrofoil::parallel
