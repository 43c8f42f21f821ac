// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/train/source.h"

#include <array>
#include <cstdint>
#include <vector>

#include "hydrofoil/checkpoint/folder.h"
#include "hydrofoil/core/error.h"
#include "hydrofoil/io/file.h"
#include "hydrofoil/io/safetensors_set.h"
#include "hydrofoil/kernels/convert.h"

namespace hydrofoil::train {
namespace {

namespace fs = std::filesystem;

// Files saved from the bare model lack the prefix that the model with a head has.
const io::SafetensorsSet::Place& find_weight(const io::SafetensorsSet& weights,
                                             const std::string& name) {
  for (const std::string prefix : {"transformer.", "model."})
    if (name.starts_with(prefix))
      if (const auto* place = weights.find(name.substr(prefix.size()))) return *place;
  return weights.at(name);
}

// Elements [begin, begin + out.size()) as fp32.
void read_as_float(const io::SafetensorsSet::Place& place, size_t begin, std::span<float> out) {
  const auto& [file, tensor] = place;
  const size_t width = size_of(tensor->dtype);
  if (tensor->dtype == DType::kF32)
    return file->read(*tensor, begin * width, std::as_writable_bytes(out));
  if (tensor->dtype != DType::kBF16 && tensor->dtype != DType::kF16)
    throw Error(ExitCode::kCheckpoint,
                "weights must be F32, BF16 or F16, not " + std::string(name_of(tensor->dtype)),
                tensor->name);
  std::vector<uint16_t> narrow(out.size());
  file->read(*tensor, begin * width, std::as_writable_bytes(std::span(narrow)));
  kernels::widen(narrow, out, tensor->dtype);
}

}  // namespace

fs::path model_folder(const fs::path& path) {
  if (fs::is_regular_file(path / "config.json")) return path;
  if (const auto latest = checkpoint::latest_complete(checkpoint::checkpoint_root(path)))
    return *latest;
  throw Error(
      ExitCode::kConfig,
      fs::exists(path) ? "holds neither a config.json nor a complete checkpoint" : "no such folder",
      path.string(), "give a Hugging Face model folder, a checkpoint, or the output of a run");
}

spec::ModelSpec folder_spec(const fs::path& folder) {
  const fs::path file = folder / "config.json";
  return spec::model_spec_from_hf(io::read_text(file), file.string());
}

void load_weights(Engine& engine, const fs::path& folder) {
  const io::SafetensorsSet weights(folder);
  engine.for_each_parameter([&](const memory::TensorInfo& info, Engine::Place) {
    const auto& place = find_weight(weights, info.name);
    if (place.tensor->shape != info.shape)
      throw Error(ExitCode::kCheckpoint,
                  "tensor has shape " + io::shape_text(place.tensor->shape) + ", the model wants " +
                      io::shape_text(info.shape),
                  info.name, "config.json and weights do not belong together");
  });
  engine.fill_parameters([&](const std::string& name, size_t begin, std::span<float> out) {
    read_as_float(find_weight(weights, name), begin, out);
  });
}

}  // namespace hydrofoil::train
