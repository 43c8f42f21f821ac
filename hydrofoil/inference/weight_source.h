// SPDX-License-Identifier: Apache-2.0
// Where a layer's matrices lie while a step multiplies with them, for layers that are not resident.
// For one runner's step at a time.
#pragma once

#include <cstddef>

namespace hydrofoil::inference {

class WeightSource {
 public:
  virtual ~WeightSource() = default;
  // The layer's matrices, each from its Matrix::place on; waits until they are there. Every thread
  // of a step asks for itself, for layers in their order, and all of them get the same answer or
  // the same Error.
  virtual const std::byte* acquire(size_t layer) = 0;
  // By one thread, once none of the step reads the layer any more.
  virtual void release(size_t layer) = 0;
};

}  // namespace hydrofoil::inference
