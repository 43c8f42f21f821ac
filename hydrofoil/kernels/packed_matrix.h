// SPDX-License-Identifier: Apache-2.0
// Weight matrices in the order in which products read them, and their products.
//
//   PackedShape shape{.rows = 576, .columns = 1536, .packing = Packing::kQ4};
//   pack_row(shape, row, blocks_of_gguf, memory);                 // once a row, memory zeroed
//   quantize_rows(x, tokens, shape.columns, bytes);               // once a product
//   multiply(shape, memory, tile, {.bytes = &bytes}, 0, tokens, out);
//
// A tile is 32 rows, and one linear stream of memory: column after column of fp32 or bf16; or
// blocks of 32 columns, their codes in lines of 128 bytes (4 columns of every row), then the rows'
// fp16 scales and, of kQ4Min, minima. 4-bit lines hold columns 4 g .. in the low and 16 + 4 g .. in
// the high nibbles. The same bytes serve one token and many, and a token's result does not depend
// on how many others there are, nor on the CPU.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "hydrofoil/core/ggml_type.h"

namespace hydrofoil::kernels {

enum class Packing : uint8_t {
  kF32,
  kBF16,
  kQ8,     // scale x (-128 .. 127)
  kQ4,     // scale x (-8 .. 7)
  kQ4Min,  // scale x (0 .. 15) + minimum
};
constexpr size_t kTileRows = 32, kBlockColumns = 32;

// What rows are before they are packed: F32, BF16, Q8_0, Q4_0, Q4_1. The other way round, nothing
// where a type has no packing of its own.
GgmlType stored_type(Packing packing);
bool multiplies_bytes(Packing packing);

struct PackedShape {
  size_t rows = 0, columns = 0;  // columns: whole blocks where bytes are multiplied
  Packing packing = Packing::kF32;

  size_t tiles() const { return (rows + kTileRows - 1) / kTileRows; }
  size_t tile_bytes() const;
  size_t bytes() const { return tiles() * tile_bytes(); }
};

// `stored`: a row in stored_type(packing). `packed`: all shape.bytes(), zeros before the first row.
void pack_row(const PackedShape& shape, size_t row, std::span<const std::byte> stored,
              std::span<std::byte> packed);

// The other way: the row in stored_type(packing), of as many bytes as it was.
void unpack_row(const PackedShape& shape, size_t row, std::span<const std::byte> packed,
                std::span<std::byte> stored);

// Activations as bytes, [tokens][columns], in blocks of 32 columns: x = scale * code.
struct ByteRows {
  ByteRows() = default;
  ByteRows(size_t tokens, size_t columns)
      : codes(tokens * columns),
        scales(tokens * columns / kBlockColumns),
        sums(tokens * columns / kBlockColumns) {}
  static size_t bytes_of(size_t tokens, size_t columns) {
    return tokens * columns + tokens * columns / kBlockColumns * (sizeof(float) + sizeof(int32_t));
  }
  std::vector<int8_t> codes;
  std::vector<float> scales;
  std::vector<int32_t> sums;  // of a block's codes
};
// Rounds rows [first, last) of x [..][columns]: to nearest even, the largest of a block to 127.
void quantize_rows(const float* x, size_t first, size_t last, size_t columns, ByteRows& rows);
// One block of a row.
void quantize_block(const float* x, size_t row, size_t block, size_t columns, ByteRows& rows);

// What a product reads: bytes where the packing multiplies them, else floats. Rows of `columns`.
struct Activations {
  const float* floats = nullptr;
  const ByteRows* bytes = nullptr;
};
// out[t][32] = the tile's rows times token first + t, for `count` tokens. Single-threaded.
void multiply(const PackedShape& shape, const std::byte* packed, size_t tile, const Activations& x,
              size_t first, size_t count, float* out);

}  // namespace hydrofoil::kernels
