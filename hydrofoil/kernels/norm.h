// SPDX-License-Identifier: Apache-2.0
// A sum of squares that does not depend on how the data is cut: the same bits for one rank or a
// hundred, one thread or eight, scalar or AVX-512.
//
//   SumOfSquares sum;
//   sum.add(my_slice);                               // whole blocks of 256 elements
//   group.all_reduce({limbs, n, kI64}, kSum, ..);    // a copy of sum.limbs(); integers, so exact
//   double norm = std::sqrt(SumOfSquares::from_limbs(limbs).value());
//
// The squares of each block, aligned to the start of the flat buffer, are added in double in a
// fixed order; the blocks' sums are then added exactly, in a fixed-point number wide enough for
// every double they can be. What is added first thus makes no difference. Cost: memory bandwidth.
// The road not taken: sums of sums in double, in rank order: reproducible for one N only.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "hydrofoil/kernels/norm_tiers.h"

namespace hydrofoil::kernels {

class SumOfSquares {
 public:
  static constexpr size_t kDigits = 21;          // of 32 bits each, in units of 2^-350
  static constexpr size_t kLimbs = kDigits + 2;  // and the number of blocks with an Inf, with a NaN

  // A multiple of 256 elements, which begins at a multiple of 256 elements of the flat buffer.
  // Else std::logic_error. Threaded.
  void add(std::span<const float> data);
  // What a kernel has summed: the squares of whole blocks, each in that fixed order.
  void add_blocks(std::span<const double> sums);
  void merge(const SumOfSquares& other);

  // Non-negative and below 2^32, so that the limbs of 2^31 ranks add up in 64 bits, element by
  // element.
  std::span<const int64_t, kLimbs> limbs() const { return limbs_; }
  // Of limbs() or of sums of them. std::logic_error when there are not kLimbs.
  static SumOfSquares from_limbs(std::span<const int64_t> limbs);

  // The exact sum of the blocks' sums, rounded once. NaN or Inf where an element was.
  double value() const;

 private:
  void add_block(double sum);
  void carry();

  std::array<int64_t, kLimbs> limbs_{};
};

// Neither Inf nor NaN anywhere. Threaded.
bool all_finite(std::span<const float> data);

}  // namespace hydrofoil::kernels
