// SPDX-License-Identifier: Apache-2.0
// The formats that ModelSource chooses from.
#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "hydrofoil/checkpoint/model_source.h"

namespace hydrofoil::checkpoint {

// The name under which a file has a tensor: those saved from the bare model lack the prefix that
// the model with a head has. The name itself when there is none.
template <class Has>
std::string stored_name(const std::string& name, const Has& has) {
  if (has(name)) return name;
  for (const std::string prefix : {"transformer.", "model.", "bert.", "roberta."})
    if (name.starts_with(prefix) && has(name.substr(prefix.size())))
      return name.substr(prefix.size());
  return name;
}

std::unique_ptr<Weights> safetensors_weights(const std::filesystem::path& folder);
// Of a run's checkpoint. What was not trained has no average: the weights themselves.
std::unique_ptr<Weights> average_weights(const std::filesystem::path& checkpoint);
std::unique_ptr<Weights> torch_weights(const std::filesystem::path& folder);
std::unique_ptr<Weights> gguf_weights(std::shared_ptr<const io::GgufFile> file,
                                      const spec::ModelSpec& spec);

}  // namespace hydrofoil::checkpoint
