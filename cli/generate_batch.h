// SPDX-License-Identifier: Apache-2.0
// hydrofoil generate --prompts: many prompts from a file, on one engine.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "cli/inference_model.h"

namespace hydrofoil::cli {

struct BatchArguments {
  std::string prompts;    // JSON lines: a text, or a request (engine/request_json.h)
  std::string output;     // empty: standard output
  size_t sequences = 64;  // that run at a time
  // Of keys and values; 0: a quarter of the memory that can be used, or what a cap leaves beside
  // the weights.
  uint64_t cache_bytes = 0;
};

// Answers all lines, in their order, and tells of its progress on standard error. base: what lines
// do not say. Error(kData) names bad lines before weights are loaded.
int generate_batch(InferenceModel& opened, const engine::Request& base,
                   const BatchArguments& arguments);

}  // namespace hydrofoil::cli
