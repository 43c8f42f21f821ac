// SPDX-License-Identifier: Apache-2.0
// Products against sums in double over the values that codes and scales stand for; equal bits on
// every tier and for every number of tokens.
#include "hydrofoil/kernels/packed_matrix.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "hydrofoil/core/dtype.h"
#include "hydrofoil/kernels/dequantize.h"
#include "tests/kernels/tiers.h"

namespace hydrofoil::kernels::packed_matrix_test {
namespace {

using testing::expect_same_bits;
using testing::on_every_tier;
using testing::random_floats;

constexpr Packing kAll[] = {Packing::kF32, Packing::kBF16, Packing::kQ8, Packing::kQ4,
                            Packing::kQ4Min};

// Random rows in the packing's stored type: any codes, the lowest and the highest included.
std::vector<std::byte> random_row(Packing packing, size_t columns, uint64_t seed) {
  const auto& layout = layout_of(stored_type(packing));
  std::vector<std::byte> row(columns / layout.block_elements * layout.block_bytes);
  if (packing == Packing::kF32) {
    const auto values = random_floats(columns, seed);
    std::memcpy(row.data(), values.data(), row.size());
  } else if (packing == Packing::kBF16) {
    const auto values = random_floats(columns, seed);
    for (size_t c = 0; c < columns; ++c) {
      const uint16_t bits = to_bf16(values[c]);
      std::memcpy(row.data() + 2 * c, &bits, 2);
    }
  } else {
    std::mt19937_64 engine(seed);
    for (auto& byte : row) byte = static_cast<std::byte>(engine());
    const auto scales = random_floats(2 * columns, seed + 1, 0.1f);
    const size_t fields = packing == Packing::kQ4Min ? 2 : 1;
    for (size_t b = 0; b * layout.block_bytes < row.size(); ++b)
      for (size_t f = 0; f < fields; ++f) {
        const uint16_t half = to_f16(scales[2 * b + f]);
        std::memcpy(row.data() + b * layout.block_bytes + 2 * f, &half, 2);
      }
  }
  return row;
}

struct Case {
  PackedShape shape;
  std::vector<std::vector<std::byte>> rows;
  std::vector<std::byte> packed;

  Case(Packing packing, size_t n_rows, size_t columns)
      : shape{.rows = n_rows, .columns = columns, .packing = packing}, packed(shape.bytes()) {
    for (size_t r = 0; r < n_rows; ++r) {
      rows.push_back(random_row(packing, columns, 7 * r + 1));
      pack_row(shape, r, rows.back(), packed);
    }
  }

  std::vector<float> multiply_all(std::span<const float> x, size_t tokens, size_t first,
                                  size_t count) const {
    ByteRows bytes(tokens, shape.columns);
    if (multiplies_bytes(shape.packing)) quantize_rows(x.data(), 0, tokens, shape.columns, bytes);
    std::vector<float> out(count * shape.tiles() * kTileRows), tile(count * kTileRows);
    for (size_t t = 0; t < shape.tiles(); ++t) {
      multiply(shape, packed.data(), t, {.floats = x.data(), .bytes = &bytes}, first, count,
               tile.data());
      for (size_t i = 0; i < count; ++i)
        std::copy_n(tile.data() + i * kTileRows, kTileRows,
                    out.data() + (i * shape.tiles() + t) * kTileRows);
    }
    return out;
  }
};

// What the codes of quantize_rows stand for.
std::vector<float> rounded(std::span<const float> x, size_t columns) {
  ByteRows rows(x.size() / columns, columns);
  quantize_rows(x.data(), 0, x.size() / columns, columns, rows);
  std::vector<float> values(x.size());
  for (size_t i = 0; i < x.size(); ++i)
    values[i] = rows.scales[i / kBlockColumns] * static_cast<float>(rows.codes[i]);
  return values;
}

TEST(PackedMatrix, MultipliesWhatItsCodesStandFor) {
  constexpr size_t kRows = 70, kColumns = 96, kTokens = 13;
  for (const Packing packing : kAll) {
    const Case matrix(packing, kRows, kColumns);
    const auto x = random_floats(kTokens * kColumns, 3);
    const auto seen = multiplies_bytes(packing) ? rounded(x, kColumns) : x;
    std::vector<float> first;
    on_every_tier([&] {
      const auto got = matrix.multiply_all(x, kTokens, 0, kTokens);
      if (first.empty()) first = got;
      expect_same_bits(got, first);
      for (size_t r = 0; r < kRows; ++r) {
        std::vector<float> weights(kColumns);
        dequantize(stored_type(packing), matrix.rows[r], weights);
        for (size_t t = 0; t < kTokens; ++t) {
          double want = 0, size = 0;
          for (size_t c = 0; c < kColumns; ++c) {
            const double term = static_cast<double>(weights[c]) * seen[t * kColumns + c];
            want += term;
            size += std::abs(term);
          }
          EXPECT_NEAR(got[t * matrix.shape.tiles() * kTileRows + r], want, 2e-6 * size)
              << "row " << r << ", token " << t;
        }
      }
    });
  }
}

TEST(PackedMatrix, ATokensResultDoesNotDependOnItsCompany) {
  constexpr size_t kColumns = 64, kTokens = 19;
  for (const Packing packing : kAll) {
    const Case matrix(packing, 33, kColumns);
    const auto x = random_floats(kTokens * kColumns, 11);
    on_every_tier([&] {
      const auto all = matrix.multiply_all(x, kTokens, 0, kTokens);
      const size_t stride = matrix.shape.tiles() * kTileRows;
      for (const size_t count : {1u, 2u, 3u, 5u, 7u})
        for (size_t first = 0; first + count <= kTokens; first += count)
          expect_same_bits(matrix.multiply_all(x, kTokens, first, count),
                           std::span(all).subspan(first * stride, count * stride));
    });
  }
}

TEST(PackedMatrix, LeavesMissingRowsOfTheLastTileZero) {
  for (const Packing packing : kAll) {
    const Case matrix(packing, 1, 32);
    const auto got = matrix.multiply_all(random_floats(32, 1), 1, 0, 1);
    for (size_t r = 1; r < kTileRows; ++r) EXPECT_EQ(got[r], 0);
  }
}

TEST(PackedMatrix, RoundsActivationsToTheNearestOf255) {
  std::vector<float> x(64);
  for (size_t i = 0; i < 32; ++i) x[i] = (static_cast<float>(i) - 15.5f) * 8;  // largest: 124
  on_every_tier([&] {
    ByteRows rows(1, 64);
    quantize_rows(x.data(), 0, 1, 64, rows);
    EXPECT_FLOAT_EQ(rows.scales[0], 132.0f / 127 * 124 / 132);
    int32_t sum = 0;
    for (size_t i = 0; i < 32; ++i) {
      EXPECT_EQ(rows.codes[i], static_cast<int8_t>(std::nearbyint(x[i] * (127.0f / 124.0f))));
      sum += rows.codes[i];
    }
    EXPECT_EQ(rows.sums[0], sum);
    EXPECT_EQ(rows.scales[1], 0);  // a block of zeros
    EXPECT_EQ(rows.sums[1], 0);
  });
}

TEST(PackedMatrix, GivesRowsBackAsTheyCame) {
  for (const Packing packing : kAll) {
    const Case matrix(packing, 35, 96);
    for (size_t r = 0; r < 35; ++r) {
      std::vector<std::byte> row(matrix.rows[r].size());
      unpack_row(matrix.shape, r, matrix.packed, row);
      EXPECT_EQ(row, matrix.rows[r]);
    }
  }
}

TEST(PackedMatrix, TakesTheBytesItSays) {
  const auto bytes = [](Packing packing) {
    return PackedShape{.rows = 33, .columns = 64, .packing = packing}.bytes();
  };
  EXPECT_EQ(bytes(Packing::kF32), 64u * 64 * 4);
  EXPECT_EQ(bytes(Packing::kBF16), 64u * 64 * 2);
  EXPECT_EQ(bytes(Packing::kQ8), 4u * 1088);    // 8.5 bits an element
  EXPECT_EQ(bytes(Packing::kQ4), 4u * 576);     // 4.5
  EXPECT_EQ(bytes(Packing::kQ4Min), 4u * 640);  // 5
}

}  // namespace
}  // namespace hydrofoil::kernels::packed_matrix_test
