// SPDX-License-Identifier: Apache-2.0
// What serving a model takes, and how fast it can be at most, before a weight is read.
//
//   const auto outline = [&](auto type) { return outline_model(spec, reader, type); };
//   const auto plan = plan_serving({spec, outline}, {.batch = 8}, {.usable_bytes = bytes});
//   std::cout << to_text(plan);
//
// Sizes are those of the functions that allocate (inference/packed_model.h, inference/kv_cache.h,
// engine/engine.h), so weights, keys and values are exact.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "hydrofoil/core/error.h"
#include "hydrofoil/core/host.h"
#include "hydrofoil/engine/engine.h"
#include "hydrofoil/inference/packed_model.h"
#include "hydrofoil/inference/probe.h"
#include "hydrofoil/plan/rates.h"
#include "hydrofoil/spec/model_spec.h"

namespace hydrofoil::plan {

struct ServedModel {
  spec::ModelSpec spec;
  std::function<inference::PackedModel(inference::WeightType)> outline;
};

struct Serving {
  std::string type = "auto";   // of inference::kWeightTypes
  std::string cache = "bf16";  // of inference::kCacheTypes
  int64_t context = 0;         // positions of a text; 0: the model's
  int64_t batch = 1;           // texts at a time

  friend bool operator==(const Serving&, const Serving&) = default;
};

struct ServingHost {
  uint64_t usable_bytes = 0;
  int threads = 1;
  uint64_t runtime_bytes = 0;  // of the program and the tokenizer
  bool streams = false;        // layers that do not fit
};

struct ServingMemory {
  inference::WeightBytes weights = {};
  inference::Residency residency = {};  // what of them is in memory
  size_t packing = 0;  // beside the weights while they are packed, before there is an engine
  engine::EngineBytes engine = {};
  uint64_t runtime = 0;

  uint64_t total() const;  // at its peak
};

// A smaller way that fits, in the words of the command line.
struct ServingCure {
  Serving serving;
  std::vector<std::string> options;  // "--kv int8", ..
  uint64_t total_bytes = 0;
};

// Tokens a second of all texts together that no program with these weights can exceed.
struct DecodeCeiling {
  int64_t batch = 1;
  double first = 0;             // with nothing behind
  double last = 0;              // with a full context behind each
  std::string_view limit = {};  // of the last: "memory", "arithmetic" or "disk"
};

struct ServingPlan {
  Serving serving;  // with its context
  std::string family;
  int64_t parameters = 0;
  int64_t position_limit = 0;
  int64_t window = 0, window_layers = 0;  // so many layers look back so far only
  size_t position_bytes = 0;              // keys and values of a position
  ServingMemory memory = {};
  uint64_t usable_bytes = 0;
  int64_t largest_context = 0, largest_batch = 0;  // that fit, the other as it is; 0: none
  std::optional<ServingCure> cure = {};            // of what does not fit, or streams
  inference::Speed speed = {};
  std::vector<DecodeCeiling> decode = {};
  double prefill = 0;  // tokens a second of prompts as long as the context

  bool fits() const { return memory.total() <= usable_bytes; }
  bool streams() const { return memory.residency.streamed > 0; }
};

// Of this process on all ranks' cores. Rates measured in training are those of fp32 products:
// nothing for weights in 8 or 4 bits.
inference::Speed speed_of(const Rates& rates, kernels::Packing packing);
// Of the layers' weights.
kernels::Packing packing_of(const inference::PackedModel& outline);

// Error(kUsage) for a context beyond the model's. A speed of 0 is not known.
ServingPlan plan_serving(const ServedModel& model, const Serving& serving, const ServingHost& host,
                         const inference::Speed& speed = {});

// "3 of 7 layers are read from disk ..".
std::string streaming_text(const inference::Residency& residency);
std::string to_text(const ServingPlan& plan);  // lines, at most 100 columns
std::string to_json(const ServingPlan& plan);  // one line
// What does not fit, with the cure as its hint; nothing for what fits.
std::optional<Error> refusal(const ServingPlan& plan);

}  // namespace hydrofoil::plan
