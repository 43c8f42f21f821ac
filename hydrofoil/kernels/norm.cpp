// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/kernels/norm.h"

#include <algorithm>
#include <atomic>
#include <bit>
#include <cmath>
#include <limits>
#include <mutex>
#include <stdexcept>
#include <string>

#include "hydrofoil/core/parallel.h"
#include "hydrofoil/kernels/grain.h"
#include "hydrofoil/kernels/isa.h"

namespace hydrofoil::kernels {
namespace {

constexpr int kDigitBits = 32;
constexpr int64_t kDigitMask = 0xffffffff;
constexpr size_t kInfinite = SumOfSquares::kDigits, kNan = kInfinite + 1;

// The smallest square is 2^-298 and its double has 52 bits below: 2^-350 is the unit. The largest
// block is 256 x 2^256; 21 digits leave room for 2^58 of them.
constexpr int kUnitExponent = -350;
constexpr size_t kBatch = 64;  // blocks summed at a time, so that the kernel streams
static_assert(kGrain % kNormBlock == 0);

}  // namespace

void SumOfSquares::add_block(double sum) {
  if (sum == 0) return;
  if (!(sum <= std::numeric_limits<double>::max())) {
    ++limbs_[std::isnan(sum) ? kNan : kInfinite];
    return;
  }
  const uint64_t bits = std::bit_cast<uint64_t>(sum);
  const uint64_t mantissa = (bits & ((uint64_t{1} << 52) - 1)) | uint64_t{1} << 52;
  const unsigned position = static_cast<unsigned>((bits >> 52) - 1023 - 52 - kUnitExponent);
  const size_t digit = position / kDigitBits;
  const unsigned shift = position % kDigitBits;
  limbs_[digit] += static_cast<int64_t>(mantissa << shift) & kDigitMask;
  limbs_[digit + 1] += static_cast<int64_t>(mantissa >> (kDigitBits - shift)) & kDigitMask;
  limbs_[digit + 2] += static_cast<int64_t>(mantissa >> (kDigitBits - shift) >> kDigitBits);
}

void SumOfSquares::add_blocks(std::span<const double> sums) {
  for (const double sum : sums) add_block(sum);
  carry();
}

void SumOfSquares::carry() {
  for (size_t d = 0; d + 1 < kDigits; ++d) {
    limbs_[d + 1] += limbs_[d] >> kDigitBits;
    limbs_[d] &= kDigitMask;
  }
}

void SumOfSquares::add(std::span<const float> data) {
  if (data.size() % kNormBlock != 0)
    throw std::logic_error("SumOfSquares::add: " + std::to_string(data.size()) +
                           " elements are not whole blocks of " + std::to_string(kNormBlock));
  const auto kernel = HYDROFOIL_PICK_TIER(block_squares);
  std::mutex mutex;
  parallel_for(data.size(), kGrain, [&](size_t begin, size_t end) {
    double sums[kBatch];
    SumOfSquares part;
    for (size_t i = begin; i < end; i += kBatch * kNormBlock) {
      const size_t blocks = std::min(kBatch, (end - i) / kNormBlock);
      kernel(data.data() + i, blocks, sums);
      part.add_blocks({sums, blocks});
    }
    const std::lock_guard lock(mutex);
    merge(part);
  });
}

void SumOfSquares::merge(const SumOfSquares& other) {
  for (size_t i = 0; i < kLimbs; ++i) limbs_[i] += other.limbs_[i];
  carry();
}

SumOfSquares SumOfSquares::from_limbs(std::span<const int64_t> limbs) {
  if (limbs.size() != kLimbs)
    throw std::logic_error("SumOfSquares::from_limbs: " + std::to_string(limbs.size()) +
                           " limbs, expected " + std::to_string(kLimbs));
  SumOfSquares sum;
  std::copy(limbs.begin(), limbs.end(), sum.limbs_.begin());
  sum.carry();
  return sum;
}

double SumOfSquares::value() const {
  if (limbs_[kNan] != 0) return std::numeric_limits<double>::quiet_NaN();
  if (limbs_[kInfinite] != 0) return std::numeric_limits<double>::infinity();
  size_t top = kDigits;
  while (top > 0 && limbs_[top - 1] == 0) --top;
  if (top == 0) return 0;
  // The four top digits hold at least 97 significant bits; whether anything follows decides ties.
  __extension__ unsigned __int128 head = 0;
  const size_t low = top > 4 ? top - 4 : 0;
  for (size_t d = top; d > low; --d)
    head = head << kDigitBits | static_cast<uint64_t>(limbs_[d - 1]);
  for (size_t d = 0; d < low; ++d)
    if (limbs_[d] != 0) head |= 1;
  return std::ldexp(static_cast<double>(head), static_cast<int>(low) * kDigitBits + kUnitExponent);
}

bool all_finite(std::span<const float> data) {
  const auto kernel = HYDROFOIL_PICK_TIER(all_finite);
  std::atomic<bool> finite{true};
  parallel_for(data.size(), kGrain, [&](size_t begin, size_t end) {
    if (!kernel(data.data() + begin, end - begin)) finite.store(false, std::memory_order_relaxed);
  });
  return finite.load();
}

}  // namespace hydrofoil::kernels
