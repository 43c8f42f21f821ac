// SPDX-License-Identifier: Apache-2.0
// The batch triangle: train_batch_size = micro-batch x accumulation steps x data-parallel ranks.
//
// Any two give the third; the total alone, or the micro-batch alone, imply one accumulation step. A
// contradiction is an error that lists three legal repairs with their numbers.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "hydrofoil/config/deepspeed.h"

namespace hydrofoil::config {

struct BatchRequest {
  std::optional<int64_t> train_batch_size;    // sequences, all ranks, one step
  std::optional<int64_t> micro_batch_size;    // sequences, one rank, one pass
  std::optional<int64_t> accumulation_steps;  // passes of one step
};

struct BatchSizes {
  int64_t train_batch_size = 0;
  int64_t micro_batch_size = 0;
  int64_t accumulation_steps = 0;
  int64_t ranks = 0;  // data-parallel
  friend bool operator==(const BatchSizes&, const BatchSizes&) = default;
};

// Error(kConfig) when nothing satisfies the request; `where` is a place for the message.
BatchSizes resolve_batch(const BatchRequest& request, int64_t ranks, const std::string& where = {});
// The same for a configuration on so many ranks in all, which its mesh must come out even on.
BatchSizes resolve_batch(const DeepSpeedConfig& config, int64_t ranks);

// Three different legal sizes near a request that has a total but contradicts itself.
std::vector<BatchSizes> batch_repairs(const BatchRequest& request, int64_t ranks);

// A number of ranks that satisfies the request, near `ranks`; none when there is none.
std::optional<int64_t> ranks_for(const BatchRequest& request, int64_t ranks);

}  // namespace hydrofoil::config
