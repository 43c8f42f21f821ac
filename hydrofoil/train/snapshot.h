// SPDX-License-Identifier: Apache-2.0
// An engine's state as logical tensors, and back: what a checkpoint holds knows no ranks and no
// stage.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "hydrofoil/checkpoint/deepspeed.h"
#include "hydrofoil/checkpoint/reader.h"
#include "hydrofoil/checkpoint/snapshot.h"
#include "hydrofoil/train/engine.h"

namespace hydrofoil::train {

// Where the run stands beyond its tensors.
struct Progress {
  int64_t step = 0;  // optimizer steps applied, = Engine::steps()
  int64_t attempts =
      0;                // optimizer steps tried: the data follows these, also past a skipped update
  int64_t samples = 0;  // sequences consumed, over all ranks
  uint64_t seed = 0;
  uint64_t bytes_written = 0;  // to disks, by all ranks
};

// The parameters ("model.safetensors", HF names, in the type they rest in), optimizer states and
// the fp32 master copies of 16-bit parameters and averages ("optimizer.safetensors",
// "exp_avg.<name>", "master.<name>", "average.<name>") and progress ("state.json") of the engine,
// plus `texts` as they are. Refers to the engine's memory: save it before the next step. What
// engines that hold parts of the model (boxes of its tensors, or some of them) snapshot together,
// all their ranks save as one checkpoint. Collective among these (EngineOptions::copy).
checkpoint::Snapshot snapshot(Engine& engine, const Progress& progress,
                              std::map<std::string, std::string> texts);

// Loads a checkpoint made on any number of ranks and at any stage. Each rank reads its own ranges.
// Error(kCheckpoint) for another model (names the tensor and both shapes) or another optimizer.
Progress restore(Engine& engine, const checkpoint::Reader& reader);
// The same from a checkpoint of DeepSpeed: weights, moments, steps and samples; its order of the
// data is another. Error(kCheckpoint) also where it holds no state of the engine's optimizer.
Progress restore(Engine& engine, const checkpoint::DeepSpeedWeights& weights, uint64_t seed);
// The parameters only: fine-tuning starts from them.
void restore_parameters(Engine& engine, const checkpoint::Reader& reader);

}  // namespace hydrofoil::train
