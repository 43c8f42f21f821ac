// SPDX-License-Identifier: Apache-2.0
// What one rank has to save, as bytes and places: no tensors, no topology.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "hydrofoil/core/box.h"
#include "hydrofoil/core/dtype.h"

namespace hydrofoil::checkpoint {

// A contiguous part of a flattened tensor, or of a box of one, that this rank owns: bytes in
// memory, which must live and stay as they are until save() returns, or bytes that a call brings
// from elsewhere. What the box says another rank saves, too, is not written.
struct Fragment {
  size_t begin = 0;  // first element
  std::span<const std::byte> bytes = {};
  // Gives the bytes from `first` on; called for ascending, disjoint parts.
  using Fetch = std::function<void(size_t first, std::span<std::byte> out)>;
  size_t fetched_bytes = 0;  // not 0: `fetch` counts, `bytes` does not
  Fetch fetch = {};
  Box box = {};  // whose elements they are

  size_t size_bytes() const { return fetched_bytes > 0 ? fetched_bytes : bytes.size(); }
  // visit(first byte, bytes): all at once where they lie in memory, else a few MiB at a time.
  void visit(const std::function<void(size_t, std::span<const std::byte>)>& visit) const;
};

struct TensorState {
  std::string name;            // as Hugging Face has it; "exp_avg.<name>" for optimizer state
  std::vector<int64_t> shape;  // of the whole tensor
  DType dtype = DType::kF32;
  std::vector<Fragment> mine;
};

struct FileState {
  std::string name;  // "model.safetensors", "optimizer.safetensors"
  std::vector<TensorState> tensors;
};

// Every element of every tensor is saved by exactly one rank, whatever groups of ranks hold which
// boxes of it. A rank may leave out tensors it owns nothing of, as long as some rank lists them.
struct Snapshot {
  int64_t step = 0;
  std::vector<FileState> files;
  // "config.json", "tokenizer.json", "state.json", "run.json": those of rank 0 are saved.
  std::map<std::string, std::string> texts;
};

}  // namespace hydrofoil::checkpoint
