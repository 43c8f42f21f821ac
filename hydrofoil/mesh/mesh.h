// SPDX-License-Identifier: Apache-2.0
// The ranks of a run as a grid with named axes, and the groups that lie along them. Pure numbers.
//
//   const Mesh mesh({.pp = 2, .tp = 2}, 8);  // the rest of the 8 ranks is dp
//   mesh.group(5, kTp);                      // the ranks that share its tensors: 4, 5
//   world.split(mesh.group_index(rank, kDp | kSp), rank, "zero");
//
// Row-major in the order pp, dp, sp, tp, the last axis on adjacent ranks, as in DeepSpeed and
// Megatron: what talks most lies closest. Experts are spread over `ep` ranks of dp, which is then
// two axes: kEp, and kExpertData for the ranks that hold the same experts.
#pragma once

#include <array>
#include <string>
#include <vector>

namespace hydrofoil::mesh {

// A set of axes.
using Axes = unsigned;
constexpr Axes kPp = 1, kExpertData = 2, kEp = 4, kDp = kExpertData | kEp, kSp = 8, kTp = 16;

struct Sizes {
  int pp = 1;  // pipeline stages
  int dp = 0;  // data parallel; 0: what the others leave
  int sp = 1;  // sequence parallel
  int tp = 1;  // tensor parallel
  int ep = 1;  // expert parallel, a divisor of dp
  // Neighbours in dp hold the same experts, rather than different ones (DeepSpeed's
  // use_data_before_expert_parallelism).
  bool data_before_expert = false;

  bool operator==(const Sizes&) const = default;
};
class Mesh {
 public:
  // Error(kConfig) where the product is not `ranks`, or ep does not divide dp: it says which sizes
  // would do.
  Mesh(const Sizes& sizes, int ranks);

  const Sizes& sizes() const { return sizes_; }  // dp filled in
  int ranks() const { return extent(kPp | kDp | kSp | kTp); }
  // Ranks of a group along these axes, and how a rank counts among them.
  int extent(Axes axes) const;
  int coordinate(int rank, Axes axes) const;
  // The ranks that differ from `rank` along these axes only, itself included, ascending.
  std::vector<int> group(int rank, Axes axes) const;
  // Which of groups(axes) that is.
  int group_index(int rank, Axes axes) const;
  std::vector<std::vector<int>> groups(Axes axes) const;  // ordered by their first ranks
  // "pp 1, tp 0": the coordinates along those of these axes that have more than one rank.
  std::string name(int rank, Axes axes) const;

 private:
  struct Digit {
    Axes axis = 0;
    int size = 1, stride = 0;
  };
  Sizes sizes_;
  std::array<Digit, 5> digits_;  // outermost first
};

}  // namespace hydrofoil::mesh
