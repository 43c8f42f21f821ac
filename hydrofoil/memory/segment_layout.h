// SPDX-License-Identifier: Apache-2.0
// Where a tensor lies inside a flat, padded, evenly sliced buffer. Pure functions on sizes.
//
// A segment is a list of tensors of one dtype laid out one after the other. Every tensor starts at
// a multiple of kTensorAlign elements and the whole is padded so that each of `parts` ranks owns
// one contiguous slice that is a multiple of kSliceGranule elements. Positions do not depend on
// `parts`: two layouts of the same tensors differ in the padding at the end only. That is what
// makes a blockwise reduction over the flat buffer (kernels/norm.h) independent of the number of
// ranks.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "hydrofoil/core/box.h"
#include "hydrofoil/core/dtype.h"

namespace hydrofoil::memory {

constexpr size_t kTensorAlign = 64;    // elements: a cache line even for one-byte codes
constexpr size_t kSliceGranule = 256;  // elements: the block of the reproducible norm

struct TensorInfo {
  std::string name;
  std::vector<int64_t> shape;
  Box box = {};  // what of the logical tensor this is
  size_t numel() const;
  const std::vector<int64_t>& whole_shape() const { return box.is_all() ? shape : box.whole; }
};

struct Range {
  size_t begin = 0, end = 0;  // elements
  size_t size() const { return end - begin; }
};

// A contiguous part of one tensor and where it lies in the flat buffer. Elements.
struct Piece {
  size_t tensor = 0;         // index
  size_t tensor_offset = 0;  // first element within the flattened tensor, or box of one
  size_t flat_offset = 0;    // first element within the segment
  size_t count = 0;
};

class SegmentLayout {
 public:
  SegmentLayout() = default;
  SegmentLayout(std::vector<TensorInfo> tensors, int parts);

  const std::vector<TensorInfo>& tensors() const { return tensors_; }
  size_t offset(size_t tensor) const { return offsets_[tensor]; }
  int parts() const { return parts_; }
  size_t numel() const { return numel_; }                  // with all padding
  size_t payload_numel() const { return payload_numel_; }  // the tensors' own elements
  size_t slice_numel() const { return numel_ / static_cast<size_t>(parts_); }
  Range slice(int part) const;
  // The tensors' pieces inside a range of the flat buffer, in order; padding belongs to none.
  std::vector<Piece> pieces(Range range) const;
  // What of the range other ranks hold, too, and count (Box::Slice::replica), in order.
  std::vector<Range> replicas(Range range) const;

 private:
  std::vector<TensorInfo> tensors_;
  std::vector<size_t> offsets_;
  int parts_ = 1;
  size_t numel_ = 0, payload_numel_ = 0;
};

}  // namespace hydrofoil::memory
