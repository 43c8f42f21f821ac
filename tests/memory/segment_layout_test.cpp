// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/memory/segment_layout.h"

#include <gtest/gtest.h>

#include <numeric>

namespace hydrofoil::memory::segment_layout_test {
namespace {

std::vector<TensorInfo> odd_tensors() {
  return {{"a", {17, 3}}, {"empty", {0, 5}},    {"scalar", {}},
          {"b", {97}},    {"large", {1000, 7}}, {"one", {1}}};
}

TEST(SegmentLayout, TensorsStartAlignedAndSlicesAreWholeBlocks) {
  for (int parts : {1, 2, 3, 4, 7}) {
    const SegmentLayout layout(odd_tensors(), parts);
    for (size_t t = 0; t < layout.tensors().size(); ++t)
      EXPECT_EQ(layout.offset(t) % kTensorAlign, 0U);
    EXPECT_EQ(layout.slice_numel() % kSliceGranule, 0U);
    EXPECT_EQ(layout.slice_numel() * static_cast<size_t>(parts), layout.numel());
  }
}

TEST(SegmentLayout, PositionsDoNotDependOnTheNumberOfParts) {
  const SegmentLayout one(odd_tensors(), 1), three(odd_tensors(), 3);
  for (size_t t = 0; t < one.tensors().size(); ++t) EXPECT_EQ(one.offset(t), three.offset(t));
}

TEST(SegmentLayout, PiecesOfAllSlicesCoverEveryElementOnce) {
  for (int parts : {1, 2, 3, 4}) {
    const SegmentLayout layout(odd_tensors(), parts);
    std::vector<std::vector<int>> seen;
    for (const auto& tensor : layout.tensors()) seen.emplace_back(tensor.numel(), 0);
    for (int part = 0; part < parts; ++part) {
      const Range slice = layout.slice(part);
      for (const auto& piece : layout.pieces(slice)) {
        EXPECT_EQ(piece.flat_offset, layout.offset(piece.tensor) + piece.tensor_offset);
        EXPECT_GE(piece.flat_offset, slice.begin);
        EXPECT_LE(piece.flat_offset + piece.count, slice.end);
        for (size_t i = 0; i < piece.count; ++i) ++seen[piece.tensor][piece.tensor_offset + i];
      }
    }
    for (const auto& tensor : seen)
      for (const int times : tensor) EXPECT_EQ(times, 1);
  }
}

TEST(SegmentLayout, TellsReplicasInTheFlatBuffer) {
  const Box replicated{.whole = {5}, .slices = {{0, 5, true}}};
  const Box columns{.whole = {2, 6}, .dim = 1, .slices = {{0, 2, true}, {3, 1}}};
  const SegmentLayout layout({{"mine", {7}}, {"norm", {5}, replicated}, {"w", {2, 3}, columns}}, 1);
  std::vector<std::pair<size_t, size_t>> got;
  for (const auto& range : layout.replicas({0, layout.numel()}))
    got.emplace_back(range.begin, range.end);
  EXPECT_EQ(got, (std::vector<std::pair<size_t, size_t>>{{64, 69}, {128, 130}, {131, 133}}));
  EXPECT_EQ(layout.replicas({66, 129}).size(), 2U);
  EXPECT_EQ(layout.tensors()[2].whole_shape(), (std::vector<int64_t>{2, 6}));
}

TEST(SegmentLayout, MoreRanksThanElementsLeavesEmptySlices) {
  const SegmentLayout layout({{"tiny", {5}}}, 4);
  EXPECT_EQ(layout.slice_numel(), kSliceGranule);
  EXPECT_EQ(layout.pieces(layout.slice(0)).size(), 1U);
  EXPECT_TRUE(layout.pieces(layout.slice(3)).empty());
}

}  // namespace
}  // namespace hydrofoil::memory::segment_layout_test
