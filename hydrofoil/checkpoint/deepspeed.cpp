// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/checkpoint/deepspeed.h"

#include <algorithm>
#include <stdexcept>

#include "hydrofoil/checkpoint/deepspeed_layout.h"
#include "hydrofoil/checkpoint/floats.h"
#include "hydrofoil/checkpoint/layout.h"
#include "hydrofoil/checkpoint/stored_weights.h"
#include "hydrofoil/core/error.h"

namespace hydrofoil::checkpoint {

namespace fs = std::filesystem;

std::optional<fs::path> deepspeed_folder(const fs::path& path) {
  const auto holds_states = [](const fs::path& folder) {
    return fs::exists(folder / kWholeModelName) || fs::exists(folder / model_slice_name(0));
  };
  if (holds_states(path)) return path;
  if (!fs::is_regular_file(path / "latest")) return std::nullopt;
  std::string tag = io::read_text(path / "latest", 4096);
  tag.erase(tag.find_last_not_of(" \r\n") + 1);
  if (!is_plain_name(tag) || !holds_states(path / tag)) return std::nullopt;
  return path / tag;
}

DeepSpeedWeights::DeepSpeedWeights(const fs::path& folder) : folder_(folder) {
  DeepSpeedLayout(*this).build();
}

bool DeepSpeedWeights::has(const std::string& name) const {
  return tensors_.contains(
      stored_name(name, [&](const std::string& n) { return tensors_.contains(n); }));
}

const DeepSpeedWeights::Tensor& DeepSpeedWeights::find(const std::string& name) const {
  const auto it =
      tensors_.find(stored_name(name, [&](const std::string& n) { return tensors_.contains(n); }));
  if (it != tensors_.end()) return it->second;
  throw Error(ExitCode::kCheckpoint, "has no tensor '" + name + "'", folder_.string());
}

std::vector<int64_t> DeepSpeedWeights::shape(const std::string& name) const {
  return find(name).shape;
}

void DeepSpeedWeights::read(const std::string& name, size_t begin, std::span<float> out) const {
  const size_t end = begin + out.size();
  size_t at = 0;  // of the tensor's elements: the piece's first
  for (const auto& [flat, first, count] : find(name).pieces) {
    const size_t from = std::max(begin, at), to = std::min(end, at + count);
    if (from < to)
      read_floats(flat->tensor.dtype, name, first + (from - at),
                  out.subspan(from - begin, to - from),
                  [&, flat = flat](uint64_t first_byte, std::span<std::byte> bytes) {
                    io::read_strided(flat->file->bytes(), flat->tensor, first_byte, bytes);
                    flat->file->let_go();
                  });
    at += count;
  }
  if (end > at) throw std::logic_error("elements beyond the end of " + name);
}

}  // namespace hydrofoil::checkpoint
