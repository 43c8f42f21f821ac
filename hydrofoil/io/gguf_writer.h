// SPDX-License-Identifier: Apache-2.0
// Writes a GGUF file (version 3): everything that describes it first, then the tensors in turn.
//
//   GgufWriter out("model.gguf", metadata, {{"token_embd.weight", GgmlType::kQ8_0, {49152, 576}}});
//   out.write("token_embd.weight", blocks);   // in one piece or in several
//   out.finish();                             // now, and not before, the path holds the file
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "hydrofoil/io/gguf.h"

namespace hydrofoil::io {

struct GgufTensorSpec {
  std::string name;
  GgmlType type = GgmlType::kF32;
  std::vector<int64_t> shape;  // outermost first
};

struct GgufPlan {
  std::string header;             // the file's first bytes, padded up to the first tensor
  std::vector<uint64_t> offsets;  // by index in `tensors`, from the beginning of the file
  uint64_t file_bytes = 0;        // a multiple of the alignment
};

// Tensors keep their order. general.alignment is honoured. std::logic_error for a key or a tensor
// twice, an unusable name, an impossible shape or a value that does not fit its kind.
GgufPlan plan_gguf(const std::vector<GgufEntry>& metadata,
                   const std::vector<GgufTensorSpec>& tensors);

// The path holds what it held until finish() returns, also after a crash: written aside, synced,
// renamed. Reserves the whole file at once, so that a full disk shows in the constructor.
class GgufWriter {
 public:
  GgufWriter(std::filesystem::path path, const std::vector<GgufEntry>& metadata,
             std::vector<GgufTensorSpec> tensors);
  GgufWriter(const GgufWriter&) = delete;
  GgufWriter& operator=(const GgufWriter&) = delete;
  ~GgufWriter();  // without finish(): nothing is left behind

  // The next bytes of tensor `name`. Tensors come in the order of the plan and each is completed
  // before the next begins; else std::logic_error.
  void write(std::string_view name, std::span<const std::byte> part);
  void finish();  // std::logic_error when bytes are missing

 private:
  std::filesystem::path path_, aside_;
  std::vector<GgufTensorSpec> tensors_;
  GgufPlan plan_;
  File file_;
  size_t current_ = 0;    // tensor
  uint64_t written_ = 0;  // bytes of it
  bool finished_ = false;
};

}  // namespace hydrofoil::io
