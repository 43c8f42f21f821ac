// SPDX-License-Identifier: Apache-2.0
// Which layers' matrices stay in memory, and which are read again for every step. Everything else
// of a model is always resident.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

namespace hydrofoil::inference {

struct PackedModel;

struct Residency {
  size_t layers = 0, streamed = 0;  // of the model; of these
  size_t buffers = 0;               // of a layer each: one is in use, the other being read
  size_t buffer_bytes = 0;
  uint64_t pass_bytes = 0;    // that a step reads from the disk
  uint64_t memory_bytes = 0;  // of all weights, with the buffers

  // Spread evenly among the others, so that the disk is never without a buffer for long.
  bool streams(size_t layer) const {
    return layers > 0 && (layer + 1) * streamed / layers > layer * streamed / layers;
  }
};

// So many layers streamed through so many buffers. Model: an outline suffices. std::logic_error
// where buffers could hold all of the layers.
Residency residency_of(const PackedModel& model, size_t streamed, size_t buffers);
// That reads least of those that take no more memory; two buffers while they fit. Nothing where one
// layer at a time is too much.
std::optional<Residency> residency_within(const PackedModel& model, uint64_t bytes);
// That takes least memory, with so many buffers at most.
Residency least_residency(const PackedModel& model, size_t buffers = 1);

}  // namespace hydrofoil::inference
