// SPDX-License-Identifier: Apache-2.0
// Who writes which bytes of which file: pure data, the same on every rank.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "hydrofoil/checkpoint/snapshot.h"

namespace hydrofoil::checkpoint {

// A fragment of some rank as all ranks see it. Elements.
struct Piece {
  uint64_t begin = 0, end = 0;
  int rank = 0;
  size_t index = 0;  // among the fragments of that rank, in the order of its snapshot
  Box box = {};      // which they are elements of
};

// Elements of a flattened tensor that lie in one piece.
struct PlannedRun {
  uint64_t begin = 0, end = 0;
  size_t piece = 0;
};

struct PlannedTensor {
  std::string name;
  std::vector<int64_t> shape;
  DType dtype = DType::kF32;
  uint64_t offset = 0;  // of the first byte, from the beginning of the file
  uint64_t bytes = 0;
  std::vector<Piece> pieces;  // none empty
  // What its ranks save of the pieces: in order, without gap or overlap.
  std::vector<PlannedRun> runs() const;
};

struct PlannedFile {
  std::string name;
  std::string part_of;  // "model.safetensors" where the snapshot's file became several
  std::string header;   // the file's first bytes
  uint64_t bytes = 0;
  std::vector<PlannedTensor> tensors;
};

struct SavePlan {
  int64_t step = 0;
  std::vector<PlannedFile> files;
  std::map<std::string, std::string> indexes;  // by name: says in which part each tensor is
  uint64_t bytes() const;
};

// What a rank tells the others about its snapshot. std::logic_error for names that cannot be files
// and for bytes that are not whole elements.
std::string layout_text(const Snapshot& snapshot);

constexpr uint64_t kMaxFileBytes = 5'000'000'000;  // as Hugging Face splits

// Joins the layouts of all ranks, in rank order. std::logic_error, naming the tensor, when ranks
// disagree on a step, shape or dtype, or an element is owned by no rank or by two.
//
// A file whose tensors exceed max_file_bytes becomes model-00001-of-00003.safetensors and so on
// with model.safetensors.index.json: in order, each part as many whole tensors as fit, at least
// one.
SavePlan plan_save(std::span<const std::string> layouts, uint64_t max_file_bytes = kMaxFileBytes);

// Which of the items rank `rank` of `size` takes care of: neighbours, about equal sums of bytes.
std::vector<size_t> share_of(std::span<const uint64_t> item_bytes, int rank, int size);

// A name for a file directly inside a checkpoint.
bool is_plain_name(std::string_view name);

}  // namespace hydrofoil::checkpoint
