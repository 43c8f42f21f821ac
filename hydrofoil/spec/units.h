// SPDX-License-Identifier: Apache-2.0
// How finely a model is gathered, released and reduced: its units, as data.
//
// A unit is a block, or, where memory is scarce, as much of a block as `most_elements` allow: at
// least one matrix. The vocabulary's matrices (token embedding, untied head) are cut further, into
// tiles of rows, because nobody needs more than a few rows of them at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "hydrofoil/spec/model_spec.h"
#include "hydrofoil/spec/tensor_part.h"

namespace hydrofoil::spec {

// Which blocks of a model somebody holds, by block (a stage of a pipeline does not hold them all);
// empty: all.
using HeldBlocks = std::vector<bool>;

// The blocks of the model, with a vocabulary's matrix of more than `most_elements` as consecutive
// tiles of one name; 0: as it is. Parameters come in the order in which a forward uses them: what
// is left of the head stands before its tiles. Blocks that are not held have none; a head that is
// the embedding, held without the embedding's block, has a copy of it among its own (a replica). Of
// matrices that several ranks share, the part of one.
std::vector<BlockSpec> tiled_blocks(const ModelSpec& spec, int64_t most_elements,
                                    const HeldBlocks& held = {}, TensorPart part = {});

struct UnitSpec {
  std::string name;  // the block's; of its parts "layers.3.0", "layers.3.1", ..
  size_t block = 0;
  std::vector<ParameterSpec> parameters;
  // A tile of an embedding that is the head, too: its gradient comes before all others and once
  // more at the end.
  bool tied_tile = false;
  // An embedding that is the head, too, or a tile of one, of which only one end is held: whoever
  // holds the other end has an equal unit, and the gradients of the two add up.
  bool has_twin = false;
};

// The parameters of tiled_blocks in the same order. 0: a unit is a block.
std::vector<UnitSpec> units(const ModelSpec& spec, int64_t most_elements,
                            const HeldBlocks& held = {}, TensorPart part = {});

}  // namespace hydrofoil::spec
