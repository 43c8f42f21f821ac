// SPDX-License-Identifier: Apache-2.0
// Attention of whole sequences and its gradients against softmax in double.
#include "hydrofoil/kernels/flash.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "hydrofoil/core/dtype.h"
#include "tests/kernels/tiers.h"

namespace hydrofoil::kernels::flash_test {
namespace {

using testing::expect_same_bits;
using testing::on_every_tier;
using testing::random_floats;
using testing::ScopedThreads;

using Numbers = std::vector<double>;

// [batch][row][head][head_dim], as models lay them out, with a gap after each head that must stay.
class Array {
 public:
  Array(DType dtype, size_t batch, size_t rows, size_t heads, size_t dim, uint64_t seed)
      : dtype_(dtype), batch_(batch), rows_(rows), heads_(heads), dim_(dim) {
    const auto floats = random_floats(batch * rows * heads * (dim + kGap), seed);
    if (dtype == DType::kF32)
      floats_ = floats;
    else
      for (float v : floats) halves_.push_back(to_bf16(v));
  }

  ConstHeads read() const {
    return {dtype_ == DType::kF32 ? static_cast<const void*>(floats_.data()) : halves_.data(),
            rows_ * row(), dim_ + kGap, row()};
  }
  NewHeads write() {
    return {dtype_ == DType::kF32 ? static_cast<void*>(floats_.data()) : halves_.data(),
            rows_ * row(), dim_ + kGap, row()};
  }
  double at(size_t b, size_t r, size_t h, size_t d) const { return number(index(b, r, h) + d); }
  void set(size_t b, size_t r, size_t h, size_t d, float v) {
    const size_t i = index(b, r, h) + d;
    dtype_ == DType::kF32 ? void(floats_[i] = v) : void(halves_[i] = to_bf16(v));
  }
  std::vector<float> all() const {
    std::vector<float> out;
    for (size_t i = 0; i < batch_ * rows_ * row(); ++i) out.push_back(number(i));
    return out;
  }
  // Without the gaps.
  Numbers numbers() const {
    Numbers out;
    for (size_t b = 0; b < batch_; ++b)
      for (size_t r = 0; r < rows_; ++r)
        for (size_t h = 0; h < heads_; ++h)
          for (size_t d = 0; d < dim_; ++d) out.push_back(at(b, r, h, d));
    return out;
  }
  std::vector<float> gaps() const {
    std::vector<float> out;
    for (size_t i = 0; i < batch_ * rows_ * row(); ++i)
      if (i % (dim_ + kGap) >= dim_) out.push_back(number(i));
    return out;
  }

 private:
  static constexpr size_t kGap = 16;
  size_t row() const { return heads_ * (dim_ + kGap); }
  size_t index(size_t b, size_t r, size_t h) const {
    return (b * rows_ + r) * row() + h * (dim_ + kGap);
  }
  float number(size_t i) const {
    return dtype_ == DType::kF32 ? floats_[i] : from_bf16(halves_[i]);
  }

  DType dtype_;
  size_t batch_, rows_, heads_, dim_;
  std::vector<float> floats_;
  std::vector<uint16_t> halves_;
};

struct Case {
  FlashShape shape;
  Array q, k, v, out, grad, grad_q, grad_k, grad_v;
  std::vector<float> log_sums;

  explicit Case(const FlashShape& s)
      : shape(s),
        q(s.dtype, s.batch, s.queries, s.heads, s.head_dim, 1),
        k(s.dtype, s.batch, s.keys, s.kv_heads, s.head_dim, 2),
        v(s.dtype, s.batch, s.keys, s.kv_heads, s.head_dim, 3),
        out(s.dtype, s.batch, s.queries, s.heads, s.head_dim, 4),
        grad(s.dtype, s.batch, s.queries, s.heads, s.head_dim, 5),
        grad_q(s.dtype, s.batch, s.queries, s.heads, s.head_dim, 6),
        grad_k(s.dtype, s.batch, s.keys, s.kv_heads, s.head_dim, 7),
        grad_v(s.dtype, s.batch, s.keys, s.kv_heads, s.head_dim, 8),
        log_sums(s.batch * s.heads * s.queries) {}

  void run() {
    flash_forward(shape, q.read(), k.read(), v.read(), out.write(), log_sums.data());
    flash_backward(shape, {q.read(), k.read(), v.read(), out.read(), grad.read(), log_sums.data()},
                   grad_q.write(), grad_k.write(), grad_v.write());
  }
  std::vector<const Array*> results() const { return {&out, &grad_q, &grad_k, &grad_v}; }
};

// The same by the definition, in double, of the numbers as they are stored.
struct Want {
  Numbers out, grad_q, grad_k, grad_v, log_sums;

  explicit Want(const Case& c) {
    const auto& s = c.shape;
    const size_t dim = s.head_dim;
    out.resize(s.batch * s.queries * s.heads * dim), grad_q = out;
    grad_k.resize(s.batch * s.keys * s.kv_heads * dim), grad_v = grad_k;
    for (size_t b = 0; b < s.batch; ++b)
      for (size_t h = 0; h < s.heads; ++h)
        for (size_t i = 0; i < s.queries; ++i) query(c, b, h, i);
  }

 private:
  void query(const Case& c, size_t b, size_t h, size_t i) {
    const auto& s = c.shape;
    const size_t kv = h / (s.heads / s.kv_heads), dim = s.head_dim;
    const size_t seen = s.causal ? i + 1 : s.keys;
    double* const o = &out[((b * s.queries + i) * s.heads + h) * dim];
    Numbers weights(seen);
    double top = -std::numeric_limits<double>::infinity(), total = 0, mean = 0;
    for (size_t j = 0; j < seen; ++j) {
      for (size_t d = 0; d < dim; ++d) weights[j] += c.q.at(b, i, h, d) * c.k.at(b, j, kv, d);
      top = std::max(top, weights[j] *= s.scale);
    }
    for (double& w : weights) total += w = std::exp(w - top);
    log_sums.push_back(top + std::log(total));
    for (size_t j = 0; j < seen; ++j) {
      weights[j] /= total;
      for (size_t d = 0; d < dim; ++d) o[d] += weights[j] * c.v.at(b, j, kv, d);
    }
    for (size_t d = 0; d < dim; ++d) mean += o[d] * c.grad.at(b, i, h, d);
    for (size_t j = 0; j < seen; ++j) {
      const size_t at = ((b * s.keys + j) * s.kv_heads + kv) * dim;
      double grad = -mean;
      for (size_t d = 0; d < dim; ++d) {
        grad += c.grad.at(b, i, h, d) * c.v.at(b, j, kv, d);
        grad_v[at + d] += weights[j] * c.grad.at(b, i, h, d);
      }
      grad *= weights[j] * s.scale;
      for (size_t d = 0; d < dim; ++d) {
        grad_q[static_cast<size_t>(o - out.data()) + d] += grad * c.k.at(b, j, kv, d);
        grad_k[at + d] += grad * c.q.at(b, i, h, d);
      }
    }
  }
};

// The largest difference, as a share of the largest number (where all are 0, as gradients of a
// single score: of what they were made of).
double apart(const Numbers& got, const Numbers& want) {
  double difference = 0, most = 0.1;
  for (size_t i = 0; i < want.size(); ++i) {
    difference = std::max(difference, std::abs(got[i] - want[i]));
    most = std::max(most, std::abs(want[i]));
    if (std::isnan(got[i])) return std::numeric_limits<double>::infinity();
  }
  return difference / most;
}

void expect_near(const Case& c, const Want& want, double bound) {
  EXPECT_LE(apart(c.out.numbers(), want.out), bound);
  EXPECT_LE(apart(c.grad_q.numbers(), want.grad_q), bound);
  EXPECT_LE(apart(c.grad_k.numbers(), want.grad_k), bound);
  EXPECT_LE(apart(c.grad_v.numbers(), want.grad_v), bound);
}

FlashShape shape(DType dtype, size_t rows, size_t dim, bool causal) {
  return {.dtype = dtype,
          .batch = 2,
          .heads = 2,
          .kv_heads = 2,
          .queries = rows,
          .keys = rows,
          .head_dim = dim,
          .scale = 1 / std::sqrt(static_cast<float>(dim)),
          .causal = causal};
}

// Half a unit in the last place of bf16 for results; weights, gradients of scores and what they
// are made of are rounded once more each.
constexpr double kBound32 = 2e-6, kBound16 = 1e-2;

double bound_of(DType dtype) {
  return dtype == DType::kF32 ? kBound32 : kBound16;
}

TEST(Flash, IsSoftmaxInDoubleForEveryLength) {
  for (const size_t rows : {1, 2, 15, 17, 31, 32, 33, 63, 64, 65, 97, 130})
    for (const bool causal : {false, true})
      for (const DType dtype : {DType::kF32, DType::kBF16}) {
        SCOPED_TRACE(std::to_string(rows) + (causal ? " causal " : " full ") +
                     std::string(name_of(dtype)));
        Case c(shape(dtype, rows, 32, causal));
        const Want want(c);
        on_every_tier([&] {
          c.run();
          expect_near(c, want, bound_of(dtype));
        });
      }
}

TEST(Flash, TakesEverySizeOfAHead) {
  for (size_t dim = 16; dim <= 256; dim += dim < 128 ? 16 : 64)
    for (const DType dtype : {DType::kF32, DType::kBF16}) {
      SCOPED_TRACE(std::to_string(dim) + " " + std::string(name_of(dtype)));
      Case c(shape(dtype, 71, dim, true));
      const Want want(c);
      on_every_tier([&] {
        c.run();
        expect_near(c, want, bound_of(dtype));
      });
    }
}

TEST(Flash, SharedKeysGetTheGradientsOfAllTheirQueries) {
  for (const DType dtype : {DType::kF32, DType::kBF16})
    for (const size_t kv_heads : {1, 2, 3}) {
      auto s = shape(dtype, 77, 48, true);
      s.heads = 6, s.kv_heads = kv_heads;
      Case c(s);
      const Want want(c);
      on_every_tier([&] {
        c.run();
        expect_near(c, want, bound_of(dtype));
      });
    }
}

TEST(Flash, QueriesAndKeysMayDifferInNumber) {
  for (const DType dtype : {DType::kF32, DType::kBF16})
    for (const auto& [queries, keys] : std::vector<std::pair<size_t, size_t>>{{5, 131}, {131, 5}}) {
      auto s = shape(dtype, 0, 64, false);
      s.queries = queries, s.keys = keys;
      Case c(s);
      const Want want(c);
      on_every_tier([&] {
        c.run();
        expect_near(c, want, bound_of(dtype));
        EXPECT_LE(apart(Numbers(c.log_sums.begin(), c.log_sums.end()), want.log_sums), 1e-6);
      });
    }
}

TEST(Flash, WritesNothingBetweenHeads) {
  for (const DType dtype : {DType::kF32, DType::kBF16}) {
    Case c(shape(dtype, 70, 80, true));
    std::vector<std::vector<float>> before;
    for (const Array* a : c.results()) before.push_back(a->gaps());
    on_every_tier([&] {
      c.run();
      for (size_t i = 0; i < before.size(); ++i)
        expect_same_bits(c.results()[i]->gaps(), before[i]);
    });
  }
}

TEST(Flash, FloatsHaveTheSameBitsOnEveryTierAndForAnyThreads) {
  auto s = shape(DType::kF32, 150, 48, true);
  s.heads = 4;
  Case first(s);
  {
    const ScopedIsa scope(Isa::kScalar);
    first.run();
  }
  on_every_tier([&] {
    for (const int threads : {1, 2, 7}) {
      const ScopedThreads scope(threads);
      Case c(s);
      c.run();
      for (size_t i = 0; i < first.results().size(); ++i)
        expect_same_bits(c.results()[i]->all(), first.results()[i]->all());
    }
  });
}

// A head's results do not depend on which others there are, nor on threads.
TEST(Flash, BFloatsHaveTheSameBitsInAnyCompany) {
  auto s = shape(DType::kBF16, 150, 64, true);
  Case together(s);
  together.run();
  s.batch = 1;
  for (const int threads : {1, 5}) {
    const ScopedThreads scope(threads);
    Case alone(s);
    alone.run();
    for (size_t i = 0; i < alone.results().size(); ++i) {
      const auto all = together.results()[i]->numbers(), one = alone.results()[i]->numbers();
      EXPECT_TRUE(std::equal(one.begin(), one.end(), all.begin()));
    }
  }
}

// Scores beyond what e^x holds; weights of one key are all that is left.
TEST(Flash, SurvivesLargeScores) {
  for (const DType dtype : {DType::kF32, DType::kBF16}) {
    auto s = shape(dtype, 67, 32, true);
    s.scale = 100;
    Case c(s);
    const Want want(c);
    on_every_tier([&] {
      c.run();
      EXPECT_LE(apart(c.out.numbers(), want.out), dtype == DType::kF32 ? 1e-3 : kBound16);
    });
  }
}

// Beyond what fp32 tells apart: nobody can say which key wins, but one does.
TEST(Flash, HugeScoresGiveNumbers) {
  for (const DType dtype : {DType::kF32, DType::kBF16}) {
    auto s = shape(dtype, 67, 32, true);
    s.scale = 1e11F;
    Case c(s);
    on_every_tier([&] {
      c.run();
      for (const auto* tensor : {&c.out, &c.grad_q, &c.grad_k, &c.grad_v})
        for (const double number : tensor->numbers()) ASSERT_TRUE(std::isfinite(number));
    });
  }
}

TEST(Flash, ANaNInAQueryReachesNoOtherQuery) {
  for (const DType dtype : {DType::kF32, DType::kBF16})
    on_every_tier([&] {
      Case c(shape(dtype, 70, 32, true));
      c.q.set(1, 40, 0, 3, std::numeric_limits<float>::quiet_NaN());
      c.run();
      for (size_t i = 0; i < 70; ++i) {
        for (const size_t d : {3, 5}) {
          EXPECT_EQ(std::isnan(c.out.at(1, i, 0, d)), i == 40) << i;
          EXPECT_EQ(std::isnan(c.grad_q.at(1, i, 0, d)), i == 40) << i;
        }
        EXPECT_EQ(std::isnan(c.grad_k.at(1, i, 0, 5)), i <= 40) << i;
        EXPECT_FALSE(std::isnan(c.out.at(0, i, 0, 5)) || std::isnan(c.out.at(1, i, 1, 5))) << i;
      }
    });
}

}  // namespace
}  // namespace hydrofoil::kernels::flash_test
