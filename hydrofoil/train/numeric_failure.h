// SPDX-License-Identifier: Apache-2.0
// A step whose numbers were not finite, kept so that it can be run again:
//
//   <output>/numeric-failure/checkpoint/step-N/   weights, optimizer, loss scale, configuration
//   <output>/numeric-failure/batch.safetensors    the sequences of the step, of all ranks
//   <output>/numeric-failure/finding.json         how they were divided, and what was found
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>

#include "hydrofoil/core/error.h"
#include "hydrofoil/models/program.h"
#include "hydrofoil/train/model.h"

namespace hydrofoil::train {

// How the rows of a step's batch go to micro-batches and data-parallel ranks: row (micro x ranks +
// rank) x micro_batch_size is the first of one micro-batch.
struct StepShape {
  int64_t micro_batch_size = 1, accumulation = 1, ranks = 1;
  bool recompute = false;
  int64_t rows() const { return micro_batch_size * accumulation * ranks; }
  int64_t first_row(int64_t micro, int64_t rank) const {
    return (micro * ranks + rank) * micro_batch_size;
  }
};

struct FailedStep {
  int64_t step = 0;  // that was to be finished
  StepShape shape;
  models::Batch batch;  // all rows, on every rank
};

// Runs the step's micro-batches again without an update and says what was found first, by
// micro-batch, then rank. Collective. With one rank in the group it runs those of all `ranks`. The
// engine takes part in no further step.
std::string find_non_finite(Model& model, const FailedStep& failed);

std::filesystem::path failure_folder(const std::filesystem::path& output);

// Keeps the step (`save` writes a checkpoint below the given root, collectively), searches it, and
// returns the error to be thrown: `cause` with the finding. Collective.
Error explain(Model& model, const FailedStep& failed, const std::filesystem::path& output,
              const std::function<void(const std::filesystem::path& root)>& save,
              const Error& cause);

// Runs a kept step again on this process alone. `output` of the run, or the folder itself.
struct Replay {
  int64_t step = 0;
  std::string found;     // now
  std::string recorded;  // by the run
  bool reproduced() const { return found == recorded; }
};
Replay replay(const std::filesystem::path& output, int threads);

}  // namespace hydrofoil::train
