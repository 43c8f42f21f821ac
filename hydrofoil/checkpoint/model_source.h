// SPDX-License-Identifier: Apache-2.0
// A model that exists, wherever it lies: a Hugging Face folder (safetensors or pytorch_model.bin,
// in one file or many), a GGUF file, a checkpoint, the output of a run (its newest checkpoint), or
// a checkpoint of DeepSpeed with the model's config.json in its folder.
//
//   const ModelSource source("models/SmolLM2-135M-Instruct.Q4_1.gguf");
//   const spec::ModelSpec spec = source.spec();
//   source.weights()->read("model.norm.weight", 0, values);
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "hydrofoil/core/ggml_type.h"
#include "hydrofoil/io/gguf.h"
#include "hydrofoil/spec/model_spec.h"
#include "hydrofoil/text/chat_template.h"
#include "hydrofoil/text/tokenizer.h"

namespace hydrofoil::checkpoint {

// Tensors under Hugging Face's names (with or without the "transformer." or "model." prefix), in
// its order of elements, as fp32 whatever they are stored in. Failures are Error(kCheckpoint).
class Weights {
 public:
  virtual ~Weights() = default;
  virtual std::vector<int64_t> shape(const std::string& name) const = 0;
  // Fails unless the tensor is there in this shape; the error shows both.
  void require_shape(const std::string& name, std::span<const int64_t> expected) const;
  // Elements [begin, begin + out.size()) of the flattened tensor. Holds at most that tensor beside
  // `out`. Threads may read at the same time, as below.
  virtual void read(const std::string& name, size_t begin, std::span<float> out) const = 0;
  // Of a matrix whose rows as products have them, [out, in], can be read as they are stored: their
  // type.
  virtual std::optional<GgmlType> row_type(const std::string&) const { return {}; }
  virtual void read_row(const std::string&, size_t, std::span<std::byte>) const {}
};

enum class Take : uint8_t {
  kWeights,
  kAverage,  // the moving average that a run keeps of them
};

class ModelSource {
 public:
  // Error(kConfig) when there is no model.
  explicit ModelSource(const std::filesystem::path& path, Take take = Take::kWeights);

  // The folder that holds config.json, or the GGUF file.
  const std::filesystem::path& path() const { return path_; }
  spec::ModelSpec spec() const;
  // What its config.json asks for and no executor here does, a line each (spec::ModelSpec has
  // more).
  std::vector<std::string> settings_not_applied() const;
  // The one that lies with the model, if any.
  std::optional<text::TokenizerSpec> tokenizer() const;
  // The one that lies with the model, if any.
  std::optional<text::ChatTemplateSpec> chat_template() const;
  // Error(kCheckpoint) for an average where there is none.
  std::unique_ptr<Weights> weights() const;

 private:
  std::filesystem::path path_;
  Take take_;
  std::filesystem::path deepspeed_;           // the folder of its files, if weights lie there
  std::shared_ptr<const io::GgufFile> gguf_;  // its header is read once; null: a folder
};

}  // namespace hydrofoil::checkpoint
