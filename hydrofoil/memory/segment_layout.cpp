// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/memory/segment_layout.h"

#include <algorithm>
#include <stdexcept>
#include <utility>

#include "hydrofoil/core/align.h"

namespace hydrofoil::memory {
size_t TensorInfo::numel() const {
  size_t n = 1;
  for (const int64_t extent : shape) n *= static_cast<size_t>(extent);
  return n;
}

SegmentLayout::SegmentLayout(std::vector<TensorInfo> tensors, int parts)
    : tensors_(std::move(tensors)), parts_(parts) {
  if (parts < 1) throw std::logic_error("SegmentLayout: parts must be positive");
  size_t end = 0;
  for (const auto& tensor : tensors_) {
    offsets_.push_back(end);
    payload_numel_ += tensor.numel();
    end = round_up(end + tensor.numel(), kTensorAlign);
  }
  numel_ = round_up(end, kSliceGranule * static_cast<size_t>(parts));
}

Range SegmentLayout::slice(int part) const {
  const size_t begin = slice_numel() * static_cast<size_t>(part);
  return {begin, begin + slice_numel()};
}

std::vector<Piece> SegmentLayout::pieces(Range range) const {
  std::vector<Piece> result;
  // The first tensor that may reach into the range: the last one that starts at or before it.
  auto first = std::upper_bound(offsets_.begin(), offsets_.end(), range.begin);
  size_t t = first == offsets_.begin() ? 0 : static_cast<size_t>(first - offsets_.begin()) - 1;
  while (t > 0 && offsets_[t] == offsets_[t - 1]) --t;  // empty tensors share an offset
  for (; t < tensors_.size() && offsets_[t] < range.end; ++t) {
    const size_t begin = std::max(range.begin, offsets_[t]);
    const size_t end = std::min(range.end, offsets_[t] + tensors_[t].numel());
    if (begin < end) result.push_back({t, begin - offsets_[t], begin, end - begin});
  }
  return result;
}

std::vector<Range> SegmentLayout::replicas(Range range) const {
  std::vector<Range> result;
  for (const Piece& piece : pieces(range)) {
    const size_t end = piece.tensor_offset + piece.count;
    tensors_[piece.tensor].box.for_each_run(piece.tensor_offset, end, [&](const Box::Run& run) {
      const size_t begin = piece.flat_offset + run.local - piece.tensor_offset;
      if (run.replica) result.push_back({begin, begin + run.count});
    });
  }
  return result;
}

}  // namespace hydrofoil::memory
