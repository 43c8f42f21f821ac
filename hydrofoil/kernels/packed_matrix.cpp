// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/kernels/packed_matrix.h"

#include <cstring>
#include <stdexcept>

#include "hydrofoil/kernels/isa.h"
#include "hydrofoil/kernels/product_tiers.h"

namespace hydrofoil::kernels {
namespace {

constexpr size_t kLine = kTileRows * 4, kScales = kTileRows * 2;  // bytes

size_t block_bytes(Packing packing) {
  switch (packing) {
    case Packing::kQ8:
      return 8 * kLine + kScales;
    case Packing::kQ4:
      return 4 * kLine + kScales;
    case Packing::kQ4Min:
      return 4 * kLine + 2 * kScales;
    case Packing::kF32:
    case Packing::kBF16:
      break;
  }
  throw std::logic_error("a packing without blocks");
}

// One block of a row: GGUF's fp16 scale, minimum if there is one, codes.
void pack_block(Packing packing, size_t row, const uint8_t* stored, uint8_t* block) {
  const size_t fields = packing == Packing::kQ4Min ? 2 : 1;
  const uint8_t* codes = stored + fields * 2;
  // Those of 4 bits have columns c and c + 16 in one byte already.
  const size_t bytes = packing == Packing::kQ8 ? kBlockColumns : kBlockColumns / 2;
  const uint8_t flip = packing == Packing::kQ8 ? 0x80 : 0;  // + 128
  for (size_t c = 0; c < bytes; ++c) block[c / 4 * kLine + 4 * row + c % 4] = codes[c] ^ flip;
  uint8_t* scales = block + block_bytes(packing) - fields * kScales;
  for (size_t field = 0; field < fields; ++field)
    std::memcpy(scales + field * kScales + 2 * row, stored + 2 * field, 2);
}

void unpack_block(Packing packing, size_t row, const uint8_t* block, uint8_t* stored) {
  const size_t fields = packing == Packing::kQ4Min ? 2 : 1;
  uint8_t* codes = stored + fields * 2;
  const size_t bytes = packing == Packing::kQ8 ? kBlockColumns : kBlockColumns / 2;
  const uint8_t flip = packing == Packing::kQ8 ? 0x80 : 0;
  for (size_t c = 0; c < bytes; ++c) codes[c] = block[c / 4 * kLine + 4 * row + c % 4] ^ flip;
  const uint8_t* scales = block + block_bytes(packing) - fields * kScales;
  for (size_t field = 0; field < fields; ++field)
    std::memcpy(stored + 2 * field, scales + field * kScales + 2 * row, 2);
}

Product product_of(Packing packing) {
  switch (packing) {
    case Packing::kF32:
      return HYDROFOIL_PICK_TIER_WITH_VNNI(product_f32);
    case Packing::kBF16:
      return HYDROFOIL_PICK_TIER_WITH_VNNI(product_bf16);
    case Packing::kQ8:
      return HYDROFOIL_PICK_TIER_WITH_VNNI(product_q8);
    case Packing::kQ4:
      return HYDROFOIL_PICK_TIER_WITH_VNNI(product_q4);
    case Packing::kQ4Min:
      return HYDROFOIL_PICK_TIER_WITH_VNNI(product_q4_min);
  }
  throw std::logic_error("an unknown packing");
}

}  // namespace

GgmlType stored_type(Packing packing) {
  switch (packing) {
    case Packing::kF32:
      return GgmlType::kF32;
    case Packing::kBF16:
      return GgmlType::kBF16;
    case Packing::kQ8:
      return GgmlType::kQ8_0;
    case Packing::kQ4:
      return GgmlType::kQ4_0;
    case Packing::kQ4Min:
      return GgmlType::kQ4_1;
  }
  throw std::logic_error("an unknown packing");
}

bool multiplies_bytes(Packing packing) {
  return packing != Packing::kF32 && packing != Packing::kBF16;
}

size_t PackedShape::tile_bytes() const {
  if (!multiplies_bytes(packing)) return columns * kTileRows * (packing == Packing::kF32 ? 4 : 2);
  if (columns % kBlockColumns != 0)
    throw std::logic_error("PackedShape: columns are not whole blocks");
  return columns / kBlockColumns * block_bytes(packing);
}

void pack_row(const PackedShape& shape, size_t row, std::span<const std::byte> stored,
              std::span<std::byte> packed) {
  const auto* from = reinterpret_cast<const uint8_t*>(stored.data());
  auto* tile = reinterpret_cast<uint8_t*>(packed.data()) + row / kTileRows * shape.tile_bytes();
  const size_t in_tile = row % kTileRows;
  if (!multiplies_bytes(shape.packing)) {
    const size_t size = shape.packing == Packing::kF32 ? 4 : 2;
    for (size_t c = 0; c < shape.columns; ++c)
      std::memcpy(tile + (c * kTileRows + in_tile) * size, from + c * size, size);
    return;
  }
  const size_t blocks = shape.columns / kBlockColumns, stored_bytes = stored.size() / blocks;
  for (size_t b = 0; b < blocks; ++b)
    pack_block(shape.packing, in_tile, from + b * stored_bytes,
               tile + b * block_bytes(shape.packing));
}

void unpack_row(const PackedShape& shape, size_t row, std::span<const std::byte> packed,
                std::span<std::byte> stored) {
  auto* to = reinterpret_cast<uint8_t*>(stored.data());
  const auto* tile =
      reinterpret_cast<const uint8_t*>(packed.data()) + row / kTileRows * shape.tile_bytes();
  const size_t in_tile = row % kTileRows;
  if (!multiplies_bytes(shape.packing)) {
    const size_t size = shape.packing == Packing::kF32 ? 4 : 2;
    for (size_t c = 0; c < shape.columns; ++c)
      std::memcpy(to + c * size, tile + (c * kTileRows + in_tile) * size, size);
    return;
  }
  const size_t blocks = shape.columns / kBlockColumns, stored_bytes = stored.size() / blocks;
  for (size_t b = 0; b < blocks; ++b)
    unpack_block(shape.packing, in_tile, tile + b * block_bytes(shape.packing),
                 to + b * stored_bytes);
}

void quantize_rows(const float* x, size_t first, size_t last, size_t columns, ByteRows& rows) {
  const size_t blocks = columns / kBlockColumns;
  HYDROFOIL_PICK_TIER_WITH_VNNI(quantize_blocks)
  (x + first * columns, (last - first) * blocks, rows.codes.data() + first * columns,
   rows.scales.data() + first * blocks, rows.sums.data() + first * blocks);
}

void quantize_block(const float* x, size_t row, size_t block, size_t columns, ByteRows& rows) {
  const size_t at = row * (columns / kBlockColumns) + block;
  HYDROFOIL_PICK_TIER_WITH_VNNI(quantize_blocks)
  (x, 1, rows.codes.data() + at * kBlockColumns, rows.scales.data() + at, rows.sums.data() + at);
}

void multiply(const PackedShape& shape, const std::byte* packed, size_t tile, const Activations& x,
              size_t first, size_t count, float* out) {
  const size_t blocks = shape.columns / kBlockColumns;
  ProductInput input{};
  if (multiplies_bytes(shape.packing)) {
    input.codes = x.bytes->codes.data() + first * shape.columns;
    input.scales = x.bytes->scales.data() + first * blocks;
    input.sums = x.bytes->sums.data() + first * blocks;
  } else {
    input.floats = x.floats + first * shape.columns;
  }
  product_of(shape.packing)(reinterpret_cast<const uint8_t*>(packed) + tile * shape.tile_bytes(),
                            shape.columns, input, count, out);
}

}  // namespace hydrofoil::kernels
