// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/memory/values.h"

#include <array>
#include <cstdint>
#include <cstring>
#include <stdexcept>

#include "hydrofoil/core/align.h"
#include "hydrofoil/kernels/convert.h"
#include "hydrofoil/kernels/fill.h"
#include "hydrofoil/kernels/norm.h"

namespace hydrofoil::memory {
namespace {

std::span<uint16_t> bits_of(const Values& values) {
  return {reinterpret_cast<uint16_t*>(values.data), values.count};
}

}  // namespace

Wide::Wide(const Values& values) : values_(values) {
  if (values_.is_wide()) return;
  copy_.resize(values_.count);
  kernels::widen(bits_of(values_), copy_, values_.dtype);
}

void Wide::store() const {
  if (!copy_.empty()) kernels::narrow(copy_, bits_of(values_), values_.dtype);
}

namespace {

void add_all_squares(kernels::SumOfSquares& sum, const Values& values) {
  for_each_chunk(values.count, values.is_wide(), [&](size_t begin, size_t count) {
    Wide wide(values.part(begin, count));
    sum.add(wide.floats());
  });
}

// Blocks of the sum that a range touches.
Range blocks_of(Range range) {
  return {range.begin / kSliceGranule * kSliceGranule, round_up(range.end, kSliceGranule)};
}

}  // namespace

void add_squares(kernels::SumOfSquares& sum, const Values& values,
                 std::span<const Range> left_out) {
  size_t done = 0;
  for (size_t next = 0; next < left_out.size();) {
    Range blocks = blocks_of(left_out[next]);
    const size_t first = next++;
    while (next < left_out.size() && left_out[next].begin < blocks.end)
      blocks.end = blocks_of(left_out[next++]).end;
    add_all_squares(sum, values.part(done, blocks.begin - done));
    Wide rest(values.part(blocks.begin, blocks.size()));
    std::vector<float> copy(rest.floats().begin(), rest.floats().end());
    for (size_t i = first; i < next; ++i)
      std::fill(copy.begin() + static_cast<std::ptrdiff_t>(left_out[i].begin - blocks.begin),
                copy.begin() + static_cast<std::ptrdiff_t>(left_out[i].end - blocks.begin), 0.0f);
    sum.add(copy);
    done = blocks.end;
  }
  add_all_squares(sum, values.part(done, values.count - done));
}

void add(const Values& into, const Values& from) {
  if (into.count != from.count) throw std::logic_error("memory::add: counts differ");
  for_each_chunk(into.count, into.is_wide() && from.is_wide(), [&](size_t begin, size_t count) {
    Wide sum(into.part(begin, count)), term(from.part(begin, count));
    kernels::add(sum.floats(), term.floats());
    sum.store();
  });
}

// Ascending: what is written lies before what is still to be read.
void narrow_in_place(std::byte* data, size_t count, DType dtype) {
  std::array<uint16_t, 4096> chunk;
  for (size_t begin = 0; begin < count; begin += chunk.size()) {
    const size_t size = std::min(chunk.size(), count - begin);
    kernels::narrow({reinterpret_cast<const float*>(data) + begin, size},
                    std::span(chunk).first(size), dtype);
    std::memcpy(data + begin * sizeof(uint16_t), chunk.data(), size * sizeof(uint16_t));
  }
}

// Descending, for the same reason.
void widen_in_place(std::byte* data, size_t begin, size_t end, DType dtype) {
  std::array<uint16_t, 4096> chunk;
  while (end > begin) {
    const size_t size = std::min(chunk.size(), end - begin);
    end -= size;
    std::memcpy(chunk.data(), data + end * sizeof(uint16_t), size * sizeof(uint16_t));
    kernels::widen(std::span(chunk).first(size), {reinterpret_cast<float*>(data) + end, size},
                   dtype);
  }
}

}  // namespace hydrofoil::memory
