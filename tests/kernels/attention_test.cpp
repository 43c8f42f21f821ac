// SPDX-License-Identifier: Apache-2.0
// Attention over a paged cache against softmax in double.
#include "hydrofoil/kernels/attention.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "tests/kernels/tiers.h"

namespace hydrofoil::kernels::attention_test {
namespace {

using testing::expect_same_bits;
using testing::on_every_tier;
using testing::random_floats;

// Keys and values of one head in pages that lie anywhere; what was never written is NaN, or -1.
class Cache {
 public:
  Cache(size_t keys, size_t head_dim, DType dtype)
      : head_dim_(head_dim),
        dtype_(dtype),
        keys_(random_floats(keys * head_dim, 1)),
        values_(random_floats(keys * head_dim, 2)) {
    const size_t pages = (keys + kPageKeys - 1) / kPageKeys,
                 half = half_page_bytes(head_dim, dtype);
    key_bytes_.resize(pages * half, std::byte{0xff});
    value_bytes_.resize(pages * half, std::byte{0xff});
    for (size_t k = 0; k < keys; ++k) {
      const size_t page = k / kPageKeys * half, in_page = k % kPageKeys;
      put(&keys_[k * head_dim], key_bytes_.data() + page, in_page, in_page, kPageKeys);
      put(&values_[k * head_dim], value_bytes_.data() + page, in_page, in_page * head_dim, 1);
    }
    for (size_t p = 0; p < pages; ++p) {
      key_pointers_.push_back(key_bytes_.data() + p * half);
      value_pointers_.push_back(value_bytes_.data() + p * half);
    }
  }

  // All chunks of each row, in order.
  std::vector<float> attend_all(const std::vector<QueryRow>& rows, float cap) const {
    const size_t stride = partial_size(head_dim_);
    std::vector<float> sums(rows.size() * stride), part(sums.size()), out;
    for (size_t first = 0; first < key_pointers_.size() * kPageKeys; first += kChunkKeys) {
      std::vector<QueryRow> here = rows;
      for (auto& row : here) {
        row.begin = std::min(std::max(row.begin, first) - first, kChunkKeys);
        row.end = std::min(std::max(row.end, first) - first, kChunkKeys);
        if (row.bias) row.bias += first;
      }
      attend({here.data(), key_pointers_.data() + first / kPageKeys,
              value_pointers_.data() + first / kPageKeys, head_dim_, cap},
             here.size(), dtype_, part.data());
      for (size_t r = 0; r < rows.size(); ++r)
        merge_partial(sums.data() + r * stride, part.data() + r * stride, head_dim_);
    }
    for (size_t r = 0; r < rows.size(); ++r) {
      out.resize((r + 1) * head_dim_);
      finish_partial(sums.data() + r * stride, head_dim_,
                     std::span(out).subspan(r * head_dim_, head_dim_));
    }
    return out;
  }

  std::vector<double> want(const QueryRow& row, double cap) const {
    std::vector<double> scores, out(head_dim_);
    double top = -1e300, total = 0;
    for (size_t k = row.begin; k < row.end; ++k) {
      double score = 0;
      for (size_t d = 0; d < head_dim_; ++d)
        score += static_cast<double>(row.query[d]) * keys_[k * head_dim_ + d];
      if (cap != 0) score = cap * std::tanh(score / cap);
      scores.push_back(score + (row.bias ? row.bias[k] : 0.0f));
      top = std::max(top, scores.back());
    }
    for (double& score : scores) total += score = std::exp(score - top);
    for (size_t k = row.begin; k < row.end; ++k)
      for (size_t d = 0; d < head_dim_; ++d)
        out[d] += scores[k - row.begin] / total * values_[k * head_dim_ + d];
    return out;
  }

 private:
  // Rounds a position's numbers to what the cache holds, and writes those.
  void put(float* x, std::byte* page, size_t in_page, size_t first, size_t stride) const {
    constexpr float kScale = 1.0f / 64;  // not of all positions the same
    const float scale = static_cast<float>(1 + in_page % 3) * kScale;
    for (size_t d = 0; d < head_dim_; ++d) {
      const size_t at = first + d * stride;
      if (dtype_ == DType::kF32) {
        std::memcpy(page + 4 * at, &x[d], 4);
      } else if (dtype_ == DType::kBF16) {
        const uint16_t bits = to_bf16(x[d]);
        x[d] = from_bf16(bits);
        std::memcpy(page + 2 * at, &bits, 2);
      } else {
        const float code = std::clamp(std::round(x[d] / scale), -127.0f, 127.0f);
        x[d] = code * scale;
        page[kPageKeys * sizeof(float) + at] = static_cast<std::byte>(static_cast<int8_t>(code));
      }
    }
    if (dtype_ == DType::kI8) std::memcpy(page + 4 * in_page, &scale, 4);
  }

  size_t head_dim_;
  DType dtype_;
  std::vector<float> keys_, values_;
  std::vector<std::byte> key_bytes_, value_bytes_;
  std::vector<const void*> key_pointers_, value_pointers_;
};

struct Variant {
  bool bias = false;
  float cap = 0;
  size_t window = 0;
};

TEST(Attention, IsSoftmaxOverWhatARowSees) {
  const auto bias = random_floats(1024, 8);
  for (const auto& [biased, cap, window] :
       {Variant{}, Variant{.bias = true}, Variant{.cap = 5}, Variant{.window = 40}})
    for (const DType dtype : {DType::kF32, DType::kBF16, DType::kI8})
      for (const size_t head_dim : {16u, 80u, 128u})
        for (const size_t keys : {1u, 15u, 17u, 256u, 257u, 600u}) {
          const Cache cache(keys, head_dim, dtype);
          const auto queries =
              random_floats(7 * head_dim, 4, 1 / std::sqrt(static_cast<float>(head_dim)));
          std::vector<QueryRow> rows;
          for (size_t r = 0; r < 7; ++r) {
            const size_t end = keys > r ? keys - r : 1;
            const size_t begin = window && end > window ? end - window : 0;
            rows.push_back(
                {queries.data() + r * head_dim, begin, end, biased ? bias.data() : nullptr});
          }
          std::vector<float> first;
          on_every_tier([&, cap = cap] {
            const auto got = cache.attend_all(rows, cap);
            if (first.empty()) first = got;
            expect_same_bits(got, first);
          });
          for (size_t r = 0; r < rows.size(); ++r) {
            const auto want = cache.want(rows[r], cap);
            for (size_t d = 0; d < head_dim; ++d)
              ASSERT_NEAR(first[r * head_dim + d], want[d], 3e-6)
                  << keys << " keys, row " << r << ", dim " << d;
          }
        }
}

TEST(Attention, ARowsResultDoesNotDependOnItsCompany) {
  const Cache cache(300, 64, DType::kF32);
  const auto queries = random_floats(6 * 64, 4);
  std::vector<QueryRow> rows;
  for (size_t r = 0; r < 6; ++r) rows.push_back({queries.data() + r * 64, 0, 295 + r, nullptr});
  on_every_tier([&] {
    const auto together = cache.attend_all(rows, 0);
    for (size_t r = 0; r < 6; ++r)
      expect_same_bits(cache.attend_all({rows[r]}, 0), std::span(together).subspan(r * 64, 64));
  });
}

}  // namespace
}  // namespace hydrofoil::kernels::attention_test
