// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/inference/residency.h"

#include <algorithm>
#include <stdexcept>

#include "hydrofoil/inference/packed_model.h"

namespace hydrofoil::inference {
namespace {

constexpr size_t kBuffers = 2;

}  // namespace

Residency residency_of(const PackedModel& model, size_t streamed, size_t buffers) {
  Residency r{.layers = model.layers.size(), .streamed = streamed, .buffers = buffers};
  if (streamed > r.layers || (streamed > 0 && (buffers == 0 || buffers >= streamed)))
    throw std::logic_error("residency_of: more layers than there are, or buffers for all of them");
  r.memory_bytes = model.weight_bytes().total();
  for (size_t layer = 0; layer < r.layers; ++layer) {
    if (!r.streams(layer)) continue;
    const auto& weights = model.layers[layer];
    r.memory_bytes -= weights.matrix_bytes();
    r.pass_bytes += weights.stream_bytes();
    r.buffer_bytes = std::max(r.buffer_bytes, weights.stream_bytes());
  }
  r.memory_bytes += buffers * r.buffer_bytes;
  return r;
}

std::optional<Residency> residency_within(const PackedModel& model, uint64_t bytes) {
  const size_t layers = model.layers.size();
  for (size_t streamed = 0; streamed <= layers; ++streamed) {
    const size_t buffers = streamed > 0 ? kBuffers : 0;
    if (streamed > 0 && streamed <= buffers) continue;
    if (const auto r = residency_of(model, streamed, buffers); r.memory_bytes <= bytes) return r;
  }
  if (const auto r = least_residency(model); r.memory_bytes <= bytes) return r;
  return {};
}

Residency least_residency(const PackedModel& model, size_t buffers) {
  const size_t layers = model.layers.size();
  return layers < 2 ? residency_of(model, 0, 0)
                    : residency_of(model, layers, std::min(buffers, layers - 1));
}

}  // namespace hydrofoil::inference
