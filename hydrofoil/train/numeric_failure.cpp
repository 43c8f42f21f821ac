// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/train/numeric_failure.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>

#include <nlohmann/json.hpp>
#include <span>
#include <utility>
#include <vector>

#include "hydrofoil/checkpoint/model_source.h"
#include "hydrofoil/checkpoint/reader.h"
#include "hydrofoil/comm/backend/thread/thread_world.h"
#include "hydrofoil/config/run.h"
#include "hydrofoil/core/host.h"
#include "hydrofoil/core/log.h"
#include "hydrofoil/core/parallel.h"
#include "hydrofoil/io/file.h"
#include "hydrofoil/io/json.h"
#include "hydrofoil/io/safetensors.h"
#include "hydrofoil/parallel/sequence.h"
#include "hydrofoil/plan/from_config.h"
#include "hydrofoil/train/non_finite.h"
#include "hydrofoil/train/options.h"
#include "hydrofoil/train/snapshot.h"
#include "hydrofoil/train/stage_run.h"

namespace hydrofoil::train {
namespace {

namespace fs = std::filesystem;

using Field = std::pair<const char*, at::Tensor models::Batch::*>;
const std::vector<Field> kFields{{"tokens", &models::Batch::tokens},
                                 {"labels", &models::Batch::labels},
                                 {"token_types", &models::Batch::token_types},
                                 {"lengths", &models::Batch::lengths}};

const char* const kNotAgain =
    "every number was finite when the batch was run once more: either the sum of the gradients "
    "over micro-batches and ranks overflows, or memory or hardware is at fault";

models::Batch rows_of(const models::Batch& batch, int64_t first, int64_t count) {
  models::Batch part;
  for (const auto& [name, member] : kFields)
    if ((batch.*member).defined()) part.*member = (batch.*member).narrow(0, first, count);
  return part;
}

void write_batch(const models::Batch& batch, const fs::path& path) {
  std::vector<io::TensorSpec> specs;
  std::vector<at::Tensor> tensors;
  for (const auto& [name, member] : kFields) {
    if (!(batch.*member).defined()) continue;
    tensors.push_back((batch.*member).contiguous());
    specs.push_back({name, DType::kI64, tensors.back().sizes().vec()});
  }
  const auto plan = io::plan_safetensors(specs);
  fs::remove(path);
  const io::File file(path, io::Access::kCreate);
  file.write_at(0, std::as_bytes(std::span(plan.header)));
  for (size_t i = 0; i < tensors.size(); ++i)
    file.write_at(plan.offsets[i], {static_cast<const std::byte*>(tensors[i].const_data_ptr()),
                                    tensors[i].nbytes()});
}

models::Batch read_batch(const fs::path& path) {
  const io::SafetensorsFile file(path);
  models::Batch batch;
  for (const auto& [name, member] : kFields) {
    const auto* stored = file.find(name);
    if (!stored) continue;
    if (stored->dtype != DType::kI64)
      throw Error(ExitCode::kCheckpoint, "tensor is not I64", path.string() + ": " + name);
    batch.*member = at::empty(stored->shape, at::kLong);
    file.read(
        *stored, 0,
        {static_cast<std::byte*>((batch.*member).mutable_data_ptr()), (batch.*member).nbytes()});
  }
  return batch;
}

// Forward and backward of one micro-batch, told to `search`.
void run_micro_batch(Model& model, const models::Batch& batch, bool recompute,
                     NonFiniteSearch& search) {
  if (!model.stage)
    return backward(model, batch_loss(*model.program, batch, recompute, &search), search);
  // Chunks take turns among as many micro-batches as there are stages: this one over and over.
  const auto& choice = model.stage->choice;
  const std::vector<models::Batch> batches(choice.chunks > 1 ? choice.stages : 1, batch);
  run_stage(model, batches, recompute, &search);
}

// What this process finds in one micro-batch of `rank`, after "f" where that was in forward, else
// "b"; empty: nothing.
std::string search_micro_batch(Model& model, const FailedStep& failed, int64_t micro,
                               int64_t rank) {
  std::vector<std::string> names;
  for (const auto& block : spec::blocks(model.program->spec())) names.push_back(block.name);
  NonFiniteSearch search(*model.program, std::move(names));
  const auto& shape = failed.shape;
  const auto batch =
      parallel::part_of(rows_of(failed.batch, shape.first_row(micro, rank), shape.micro_batch_size),
                        model.share.part, model.share.parts);
  run_micro_batch(model, batch, shape.recompute, search);
  if (!search.finding()) return {};
  std::string text(1, search.finding()->pass == Pass::kForward ? 'f' : 'b');
  return text.append(search.finding()->text())
      .append(" (rank ")
      .append(std::to_string(rank))
      .append(", micro-batch ")
      .append(std::to_string(micro))
      .append(")");
}

// What came first of what all ranks have found: by rank, and along its stages in the order in
// which they work.
std::string first_of(const std::vector<std::string>& found, int stages) {
  const size_t rows = found.size() / static_cast<size_t>(stages);
  for (size_t row = 0; row < rows; ++row) {
    for (size_t i = row; i < found.size(); i += rows)
      if (found[i].starts_with("f")) return found[i].substr(1);
    for (size_t i = found.size() - rows + row; i < found.size(); i -= rows)
      if (found[i].starts_with("b")) return found[i].substr(1);
  }
  return {};
}

nlohmann::json to_json(const FailedStep& failed, const std::string& found) {
  return {{"step", failed.step},
          {"found", found},
          {"micro_batch_size", failed.shape.micro_batch_size},
          {"accumulation", failed.shape.accumulation},
          {"ranks", failed.shape.ranks},
          {"recompute", failed.shape.recompute}};
}

// The step, and what was found.
std::pair<FailedStep, std::string> read_failure(const fs::path& folder) {
  const fs::path path = folder / "finding.json";
  const auto json = io::parse_json(io::read_text(path), path.string());
  FailedStep failed;
  failed.batch = read_batch(folder / "batch.safetensors");
  std::string found;
  try {
    json.at("step").get_to(failed.step);
    json.at("micro_batch_size").get_to(failed.shape.micro_batch_size);
    json.at("accumulation").get_to(failed.shape.accumulation);
    json.at("ranks").get_to(failed.shape.ranks);
    json.at("recompute").get_to(failed.shape.recompute);
    json.at("found").get_to(found);
  } catch (const nlohmann::json::exception& error) {
    throw Error(ExitCode::kCheckpoint, error.what(), path.string());
  }
  const auto& tokens = failed.batch.tokens;
  if (!tokens.defined() || tokens.dim() != 2 || tokens.size(0) != failed.shape.rows())
    throw Error(ExitCode::kCheckpoint, "the kept batch has not the rows that finding.json says",
                (folder / "batch.safetensors").string());
  return {std::move(failed), std::move(found)};
}

}  // namespace

std::string find_non_finite(Model& model, const FailedStep& failed) {
  const int stages = model.stage ? model.stage->choice.stages : 1;
  std::string first;
  for (int64_t micro = 0; micro < failed.shape.accumulation; ++micro)
    for (int64_t rank = model.share.rank; rank < failed.shape.ranks; rank += model.share.ranks) {
      const auto found = search_micro_batch(model, failed, micro, rank);
      const auto all = model.group.all_gather_text(found);
      if (first.empty()) first = first_of(all, stages);
    }
  return first.empty() ? kNotAgain : first;
}

fs::path failure_folder(const fs::path& output) {
  return output / "numeric-failure";
}

Error explain(Model& model, const FailedStep& failed, const fs::path& output,
              const std::function<void(const fs::path& root)>& save, const Error& cause) {
  const fs::path folder = failure_folder(output);
  const auto& group = model.group;
  std::string kept = "hydrofoil replay " + output.string() + " runs it again";
  try {
    save(folder / "checkpoint");
    if (group.rank() == 0) write_batch(failed.batch, folder / "batch.safetensors");
  } catch (const Error& error) {  // a full disk: what was found is worth saying all the same
    if (error.code() != ExitCode::kCheckpoint && error.code() != ExitCode::kError) throw;
    kept = "the step could not be kept: " + error.line();
  }
  const std::string found = find_non_finite(model, failed);
  if (group.rank() == 0) {
    try {
      io::atomic_write(folder / "finding.json", to_json(failed, found).dump(1) + "\n");
    } catch (const Error& error) {
      log::warn("the finding is not kept: " + error.line());
    }
  }
  return {cause.code(), std::string(cause.what()) + ": " + found,
          "step " + std::to_string(failed.step), kept};
}

Replay replay(const fs::path& output, int threads) {
  const fs::path folder = fs::exists(output / "finding.json") ? output : failure_folder(output);
  if (!fs::exists(folder / "finding.json"))
    throw Error(ExitCode::kConfig, "this run has kept no step whose numbers were not finite",
                output.string(), "a run that ends with code 7 keeps one");
  const auto [failed, recorded] = read_failure(folder);
  const checkpoint::ModelSource source(folder / "checkpoint");
  const auto run = config::load_run((source.path() / "run.json").string());
  at::set_num_threads(threads);
  set_compute_threads(threads);
  auto options =
      engine_options(run, {.train_batch_size = failed.shape.rows(),
                           .micro_batch_size = failed.shape.micro_batch_size,
                           .accumulation_steps = failed.shape.accumulation * failed.shape.ranks});
  auto model = make_model(comm::ThreadWorld(1).rank(0), source.spec(), std::move(options),
                          plan::compute_types(run), program_options(run));
  restore(*model.engine, checkpoint::Reader(source.path()));
  return {.step = failed.step, .found = find_non_finite(model, failed), .recorded = recorded};
}

}  // namespace hydrofoil::train
