// SPDX-License-Identifier: Apache-2.0
// Floating-point numbers that rest in fp32, bf16 or fp16, and are always computed with in fp32.
//
//   for_each_chunk(values.count, values.is_wide(), [&](size_t begin, size_t count) {
//     Wide wide(values.part(begin, count));   // the numbers themselves, or a copy
//     update(wide.floats());
//     wide.store();                           // rounded to nearest even
//   });
#pragma once

#include <algorithm>
#include <cstddef>
#include <span>
#include <vector>

#include "hydrofoil/core/values.h"
#include "hydrofoil/memory/segment_layout.h"

namespace hydrofoil::kernels {
class SumOfSquares;
}

namespace hydrofoil::memory {

using hydrofoil::Values;

// Values as fp32: themselves where they rest in it, else a copy.
class Wide {
 public:
  explicit Wide(const Values& values);
  std::span<float> floats() { return copy_.empty() ? values_.floats() : std::span(copy_); }
  // What was written goes to where it rests.
  void store() const;

 private:
  Values values_;
  std::vector<float> copy_;
};

constexpr size_t kChunkElements = size_t{32} << 10;  // a multiple of kSliceGranule

// visit(begin, count) of the whole at once, or of chunks whose copies stay in the cache.
template <class Visit>
void for_each_chunk(size_t count, bool whole, const Visit& visit) {
  const size_t chunk = whole ? std::max<size_t>(count, 1) : kChunkElements;
  for (size_t begin = 0; begin < count; begin += chunk)
    visit(begin, std::min(chunk, count - begin));
}

// Those of a flat buffer from a multiple of 256 elements on, but for the elements in `left_out`
// (ascending).
void add_squares(kernels::SumOfSquares& sum, const Values& values,
                 std::span<const Range> left_out = {});

// into += from, in fp32. Of equal counts.
void add(const Values& into, const Values& from);

// Between types within one buffer of `count` fp32 elements. narrow_in_place leaves 16-bit numbers
// in its front; widen_in_place takes those of elements [begin, end) and makes them fp32 at their
// own place.
void narrow_in_place(std::byte* data, size_t count, DType dtype);
void widen_in_place(std::byte* data, size_t begin, size_t end, DType dtype);

}  // namespace hydrofoil::memory
