// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/spec/units.h"

#include <algorithm>
#include <string>
#include <utility>

namespace hydrofoil::spec {
namespace {

bool is_vocabulary(const ModelSpec& spec, const ParameterSpec& parameter) {
  return parameter.part == Part::kTokens ||
         (parameter.part == Part::kHead && !parameter.bias && spec.head != HeadKind::kClasses);
}

// Tiles of as equal sizes as rows allow.
std::vector<ParameterSpec> tiles_of(const ParameterSpec& matrix, int64_t most_elements) {
  const int64_t rows = matrix.shape[0], columns = matrix.shape[1];
  const int64_t most_rows = std::max<int64_t>(1, most_elements / columns);
  const int64_t count = (rows + most_rows - 1) / most_rows;
  std::vector<ParameterSpec> tiles;
  for (int64_t i = 0; i < count; ++i) {
    ParameterSpec tile = matrix;
    const int64_t begin = rows * i / count;
    tile.tile = true;
    tile.shape[0] = rows * (i + 1) / count - begin;
    Box::Slice all;  // where the matrix is a box, too
    if (!matrix.box.is_all()) all = matrix.box.slices.front();
    tile.box = {.whole = matrix.whole_shape(),
                .slices = {{all.begin + begin, tile.shape[0], all.replica}}};
    tiles.push_back(std::move(tile));
  }
  return tiles;
}

bool is_tied(const ModelSpec& spec) {
  return spec.tied_head && spec.head != HeadKind::kClasses;
}

// Whether embedding and head are one weight, of which only one end is held.
bool parts_tied(const ModelSpec& spec, const HeldBlocks& held) {
  return is_tied(spec) && !held.empty() && held.front() != held.back();
}

void keep(const ModelSpec& spec, const HeldBlocks& held, std::vector<BlockSpec>& blocks) {
  if (parts_tied(spec, held) && held.back())
    for (ParameterSpec copy : blocks.front().parameters) {
      if (copy.part != Part::kTokens) continue;
      if (copy.box.is_all()) copy.box = {.whole = copy.shape, .slices = {{0, copy.shape[0]}}};
      for (Box::Slice& slice : copy.box.slices) slice.replica = true;
      blocks.back().parameters.push_back(std::move(copy));
    }
  for (size_t b = 0; b < blocks.size(); ++b)
    if (!held[b]) blocks[b].parameters.clear();
}

}  // namespace

std::vector<BlockSpec> tiled_blocks(const ModelSpec& spec, int64_t most_elements,
                                    const HeldBlocks& held, TensorPart part) {
  auto result = blocks_of(spec, part);
  if (!held.empty()) keep(spec, held, result);
  if (most_elements == 0) return result;
  for (auto& block : result) {
    std::vector<ParameterSpec> parameters;
    for (const auto& parameter : block.parameters) {
      if (!is_vocabulary(spec, parameter) || parameter.numel() <= most_elements) {
        parameters.push_back(parameter);
        continue;
      }
      auto tiles = tiles_of(parameter, most_elements);
      parameters.insert(parameters.end(), tiles.begin(), tiles.end());
    }
    block.parameters = std::move(parameters);
  }
  std::ranges::stable_partition(result.back().parameters,
                                [](const ParameterSpec& p) { return !p.tile; });
  return result;
}

std::vector<UnitSpec> units(const ModelSpec& spec, int64_t most_elements, const HeldBlocks& held,
                            TensorPart part) {
  const bool parted = parts_tied(spec, held), tied = is_tied(spec) && !parted;
  std::vector<UnitSpec> result;
  const auto all = tiled_blocks(spec, most_elements, held, part);
  for (size_t b = 0; b < all.size(); ++b) {
    if (!held.empty() && !held[b]) continue;
    const size_t first = result.size();
    int64_t room = most_elements;  // in the last unit
    result.push_back({.name = all[b].name, .block = b, .parameters = {}});
    for (const auto& parameter : all[b].parameters) {
      // A bias stays beside its weight: one operator uses both.
      const bool follows = parameter.bias && !result.back().parameters.empty() &&
                           result.back().parameters.back().part == parameter.part;
      const bool has_twin = parted && parameter.part == Part::kTokens;
      const bool small =
          most_elements == 0 || follows || (!parameter.tile && parameter.numel() <= room);
      const bool fits = small && !has_twin && !result.back().has_twin;
      if (!fits && !result.back().parameters.empty()) {
        result.push_back({.name = all[b].name, .block = b, .parameters = {}});
        room = most_elements;
      }
      room = parameter.tile ? 0 : room - parameter.numel();
      result.back().parameters.push_back(parameter);
      result.back().tied_tile = parameter.tile && b == 0 && tied;
      result.back().has_twin = has_twin;
    }
    if (result.size() == first + 1) continue;
    for (size_t i = first; i < result.size(); ++i)
      result[i].name.append(1, '.').append(std::to_string(i - first));
  }
  return result;
}

}  // namespace hydrofoil::spec
