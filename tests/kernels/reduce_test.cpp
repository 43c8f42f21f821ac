// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/kernels/reduce.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <stdexcept>

#include "tests/kernels/tiers.h"

namespace hydrofoil::kernels::reduce_test {
namespace {

using testing::kLongestTail;
using testing::on_every_tier;

constexpr DType kTypes[] = {DType::kF32, DType::kF64, DType::kBF16, DType::kF16, DType::kI64,
                            DType::kI32, DType::kI16, DType::kI8,   DType::kU8,  DType::kBool};
constexpr Reduction kOps[] = {Reduction::kSum, Reduction::kMax, Reduction::kMin};
using Bytes = std::vector<unsigned char>;

// The slow truth: one element at a time.
template <class T>
T combine(T a, T b, Reduction op) {
  if constexpr (std::is_floating_point_v<T>) {
    if (std::isnan(a) || std::isnan(b)) return std::numeric_limits<T>::quiet_NaN();
  }
  if (op == Reduction::kMax) return a > b ? a : b;
  if (op == Reduction::kMin) return a < b ? a : b;
  if constexpr (std::is_integral_v<T>)
    return static_cast<T>(static_cast<uint64_t>(a) + static_cast<uint64_t>(b));
  else
    return a + b;
}

template <class Stored, class Held, class Widen, class Narrow>
Bytes reduced(const std::vector<Bytes>& sources, Reduction op, Widen widen, Narrow narrow) {
  Bytes out(sources[0].size());
  for (size_t i = 0; i < out.size(); i += sizeof(Stored)) {
    const auto element = [&](const Bytes& bytes) {
      Stored stored;
      std::memcpy(&stored, bytes.data() + i, sizeof stored);
      return widen(stored);
    };
    Held held = element(sources[0]);
    for (size_t s = 1; s < sources.size(); ++s) held = combine<Held>(held, element(sources[s]), op);
    const Stored stored = narrow(held);
    std::memcpy(out.data() + i, &stored, sizeof stored);
  }
  return out;
}

template <class T>
Bytes reduced_exactly(const std::vector<Bytes>& sources, Reduction op) {
  const auto same = [](T v) { return v; };
  return reduced<T, T>(sources, op, same, same);
}

Bytes expected(const std::vector<Bytes>& sources, DType type, Reduction op) {
  switch (type) {
    case DType::kF32:
      return reduced_exactly<float>(sources, op);
    case DType::kF64:
      return reduced_exactly<double>(sources, op);
    case DType::kBF16:
      return reduced<uint16_t, float>(sources, op, from_bf16, to_bf16);
    case DType::kF16:
      return reduced<uint16_t, float>(sources, op, from_f16, to_f16);
    case DType::kI64:
      return reduced_exactly<int64_t>(sources, op);
    case DType::kI32:
      return reduced_exactly<int32_t>(sources, op);
    case DType::kI16:
      return reduced_exactly<int16_t>(sources, op);
    case DType::kI8:
      return reduced_exactly<int8_t>(sources, op);
    case DType::kU8:
      return reduced_exactly<uint8_t>(sources, op);
    case DType::kBool:
      return reduced_exactly<uint8_t>(sources, op == Reduction::kSum ? Reduction::kMax : op);
  }
  return {};
}

// Any bit pattern: subnormals, infinities and NaNs come by themselves in the 16-bit types.
std::vector<Bytes> random_sources(size_t sources, size_t count, DType type, uint64_t seed) {
  std::mt19937_64 engine(seed);
  std::vector<Bytes> out(sources, Bytes(count * size_of(type)));
  for (Bytes& bytes : out)
    for (unsigned char& b : bytes)
      b = static_cast<unsigned char>(engine() >> 32) & (type == DType::kBool ? 1 : 0xff);
  return out;
}

bool is_nan(const unsigned char* element, DType type) {
  if (type == DType::kF64) {
    double v;
    std::memcpy(&v, element, sizeof v);
    return std::isnan(v);
  }
  if (type == DType::kF32) {
    float v;
    std::memcpy(&v, element, sizeof v);
    return std::isnan(v);
  }
  if (type != DType::kBF16 && type != DType::kF16) return false;
  uint16_t v;
  std::memcpy(&v, element, sizeof v);
  return std::isnan(type == DType::kBF16 ? from_bf16(v) : from_f16(v));
}

// Bit for bit, but a NaN equals any NaN.
void expect_same(const unsigned char* got, const Bytes& want, DType type) {
  const size_t width = size_of(type);
  for (size_t i = 0; i < want.size(); i += width) {
    if (is_nan(&want[i], type) && is_nan(got + i, type)) continue;
    ASSERT_EQ(std::memcmp(got + i, &want[i], width), 0)
        << name_of(type) << " element " << i / width << " of " << want.size() / width;
  }
}

void check(size_t source_count, size_t count, DType type, Reduction op, bool stream, size_t skew) {
  const std::vector<Bytes> sources = random_sources(source_count, count, type, count + skew);
  const Bytes want = expected(sources, type, op);
  // Shift every buffer differently off its alignment, and watch the bytes around the result.
  std::vector<Bytes> shifted(source_count);
  std::vector<const void*> pointers;
  for (size_t s = 0; s < source_count; ++s) {
    shifted[s].resize((s + 1) * skew);
    shifted[s].insert(shifted[s].end(), sources[s].begin(), sources[s].end());
    pointers.push_back(shifted[s].data() + (s + 1) * skew);
  }
  Bytes out(want.size() + skew + 64, 0xa5);
  reduce_sources(out.data() + skew, pointers, count, type, op, stream);
  expect_same(out.data() + skew, want, type);
  for (size_t i = 0; i < out.size(); ++i)
    if (i < skew || i >= skew + want.size()) {
      ASSERT_EQ(out[i], 0xa5) << "wrote outside, at " << i;
    }
}

TEST(ReduceSources, MatchesTheScalarTruthForEveryTypeOpAndLength) {
  on_every_tier([] {
    for (DType type : kTypes)
      for (Reduction op : kOps)
        for (size_t count = 0; count <= kLongestTail; ++count)
          check(3, count, type, op, count % 2 == 0, 0);
  });
}

TEST(ReduceSources, TakesAnyAlignmentAndNumberOfSources) {
  on_every_tier([] {
    for (DType type : kTypes)
      for (size_t sources : {1, 2, 4, 5})
        for (size_t skew : {1, 2, 4, 8, 36, 63})
          for (bool stream : {false, true})
            check(sources, 1003, type, Reduction::kSum, stream, skew);
  });
}

TEST(ReduceSources, WritesOverOneOfItsSources) {
  on_every_tier([] {
    for (DType type : kTypes)
      for (size_t place : {0, 1, 2})
        for (bool stream : {false, true}) {
          std::vector<Bytes> sources = random_sources(3, 4097, type, 5);
          const Bytes want = expected(sources, type, Reduction::kSum);
          const void* pointers[] = {sources[0].data(), sources[1].data(), sources[2].data()};
          reduce_sources(sources[place].data(), pointers, 4097, type, Reduction::kSum, stream);
          expect_same(sources[place].data(), want, type);
        }
  });
}

TEST(ReduceSources, SumsInOrder) {
  // 1e8 + 1 - 1e8 is 0 in fp32 and 1 in any other order.
  on_every_tier([] {
    const std::vector<float> a(100, 1e8f), b(100, 1.0f), c(100, -1e8f);
    const void* forth[] = {a.data(), b.data(), c.data()};
    const void* back[] = {a.data(), c.data(), b.data()};
    std::vector<float> out(100);
    reduce_sources(out.data(), forth, 100, DType::kF32, Reduction::kSum, false);
    EXPECT_EQ(out, std::vector<float>(100, 0.0f));
    reduce_sources(out.data(), back, 100, DType::kF32, Reduction::kSum, false);
    EXPECT_EQ(out, std::vector<float>(100, 1.0f));
  });
}

TEST(ReduceSources, RoundsBf16OnceAtTheEnd) {
  // 256 + 1 + 1: rounding after each step would stay at 256.
  on_every_tier([] {
    const std::vector<uint16_t> a(70, to_bf16(256.0f)), b(70, to_bf16(1.0f));
    const void* sources[] = {a.data(), b.data(), b.data()};
    std::vector<uint16_t> out(70);
    reduce_sources(out.data(), sources, 70, DType::kBF16, Reduction::kSum, false);
    EXPECT_EQ(out, std::vector<uint16_t>(70, to_bf16(258.0f)));
  });
}

TEST(ReduceSources, KeepsANanOfAnyRank) {
  on_every_tier([] {
    const float nan = std::numeric_limits<float>::quiet_NaN();
    for (Reduction op : kOps)
      for (size_t place : {0, 1, 2}) {
        std::vector<std::vector<float>> values(3, std::vector<float>(37, 2.0f));
        values[place][20] = nan;
        const void* sources[] = {values[0].data(), values[1].data(), values[2].data()};
        std::vector<float> out(37);
        reduce_sources(out.data(), sources, 37, DType::kF32, op, false);
        EXPECT_TRUE(std::isnan(out[20]));
        EXPECT_FALSE(std::isnan(out[19]));
      }
  });
}

TEST(ReduceSources, RefusesNoSource) {
  float out = 0;
  EXPECT_THROW(reduce_sources(&out, {}, 1, DType::kF32, Reduction::kSum, false), std::logic_error);
}

TEST(CopyBytes, CopiesExactlyTheRangeAtAnyAlignment) {
  on_every_tier([] {
    Bytes from(9000);
    for (size_t i = 0; i < from.size(); ++i) from[i] = static_cast<unsigned char>(i * 7 + i / 256);
    for (size_t bytes : {0, 1, 31, 63, 64, 65, 255, 256, 257, 1000, 8191})
      for (size_t to_skew : {0, 1, 17, 63})
        for (size_t from_skew : {0, 3, 32})
          for (bool stream : {false, true}) {
            Bytes to(9000, 0xa5), want = to;
            std::copy_n(from.begin() + static_cast<long>(from_skew), bytes,
                        want.begin() + static_cast<long>(to_skew));
            copy_bytes(to.data() + to_skew, from.data() + from_skew, bytes, stream);
            ASSERT_EQ(to, want) << bytes << " bytes to +" << to_skew << " from +" << from_skew;
          }
  });
}

}  // namespace
}  // namespace hydrofoil::kernels::reduce_test
