// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/checkpoint/model_source.h"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <string_view>
#include <utility>

#include "hydrofoil/checkpoint/deepspeed.h"
#include "hydrofoil/checkpoint/folder.h"
#include "hydrofoil/checkpoint/stored_weights.h"
#include "hydrofoil/core/error.h"
#include "hydrofoil/io/file.h"
#include "hydrofoil/io/gguf.h"
#include "hydrofoil/io/safetensors.h"
#include "hydrofoil/spec/from_gguf.h"
#include "hydrofoil/text/tokenizer_json.h"

namespace hydrofoil::checkpoint {
namespace {

namespace fs = std::filesystem;

bool is_gguf(const fs::path& path) {
  if (!fs::is_regular_file(path)) return false;
  std::array<std::byte, 4> magic{};
  const io::File file(path, io::Access::kRead);
  if (file.size_bytes() < magic.size()) return false;
  file.read_at(0, magic);
  return std::string_view(reinterpret_cast<const char*>(magic.data()), magic.size()) == "GGUF";
}

bool has_safetensors(const fs::path& folder) {
  return fs::exists(folder / "model.safetensors") ||
         fs::exists(folder / "model.safetensors.index.json");
}

bool has_torch_files(const fs::path& folder) {
  return fs::exists(folder / "pytorch_model.bin") ||
         fs::exists(folder / "pytorch_model.bin.index.json");
}

fs::path folder_above(const fs::path& folder) {
  return fs::absolute(folder / "").lexically_normal().parent_path().parent_path();
}

text::ChatTemplateSpec gguf_chat_template(const io::GgufHeader& header) {
  text::ChatTemplateSpec spec;
  if (const auto* source = io::as_text(header.find("tokenizer.chat_template")))
    spec.source = *source;
  const auto* tokens = io::as_texts(header.find("tokenizer.ggml.tokens"));
  const auto token = [&](const char* key) -> std::string {
    const auto id = static_cast<size_t>(io::as_integer(header.find(key)).value_or(-1));
    return tokens && id < tokens->size() ? (*tokens)[id] : "";
  };
  spec.bos_token = token("tokenizer.ggml.bos_token_id");
  spec.eos_token = token("tokenizer.ggml.eos_token_id");
  return spec;
}

// A template of its own file counts before the one in tokenizer_config.json, which may be a list of
// templates with names.
text::ChatTemplateSpec folder_chat_template(const fs::path& folder) {
  text::ChatTemplateSpec spec;
  const fs::path config = folder / "tokenizer_config.json", own = folder / "chat_template.jinja";
  if (fs::exists(config)) {
    const auto json = nlohmann::json::parse(io::read_text(config), nullptr, false);
    if (!json.is_object()) throw Error(ExitCode::kData, "is no JSON object", config.string());
    const auto token = [&](const char* key) -> std::string {
      const auto value = json.value(key, nlohmann::json());
      if (value.is_object()) return value.value("content", "");
      return value.is_string() ? value.get<std::string>() : "";
    };
    spec.bos_token = token("bos_token");
    spec.eos_token = token("eos_token");
    spec.source = token("chat_template");
    if (json.contains("chat_template") && json["chat_template"].is_array())
      for (const auto& named : json["chat_template"])
        if (named.is_object() && named.value("name", "") == "default")
          spec.source = named.value("template", "");
  }
  if (fs::exists(own)) spec.source = io::read_text(own);
  return spec;
}

}  // namespace

void Weights::require_shape(const std::string& name, std::span<const int64_t> expected) const {
  const auto actual = shape(name);
  if (!std::equal(actual.begin(), actual.end(), expected.begin(), expected.end()))
    throw Error(ExitCode::kCheckpoint,
                "tensor has shape " + io::shape_text(actual) + ", the model wants " +
                    io::shape_text(expected),
                name, "config.json and weights do not belong together");
}

ModelSource::ModelSource(const fs::path& path, Take take) : path_(path), take_(take) {
  if (is_gguf(path)) gguf_ = std::make_shared<io::GgufFile>(path);
  if (gguf_) return;
  if (!has_safetensors(path) && !has_torch_files(path))
    deepspeed_ = deepspeed_folder(path).value_or("");
  if (fs::is_regular_file(path / "config.json")) return;
  if (!deepspeed_.empty()) {
    path_ = folder_above(path);
    if (deepspeed_ == path && fs::is_regular_file(path_ / "config.json")) return;
    throw Error(ExitCode::kConfig, "is a DeepSpeed checkpoint without the model's config.json",
                path.string(), "copy config.json and tokenizer.json of the model into this folder");
  }
  if (const auto latest = latest_complete(checkpoint_root(path))) {
    path_ = *latest;
    return;
  }
  throw Error(
      ExitCode::kConfig,
      fs::is_regular_file(path) ? "is no GGUF file"
      : fs::exists(path)        ? "holds neither a config.json nor a complete checkpoint"
                                : "no such file or folder",
      path.string(),
      "give a Hugging Face model folder, a GGUF file, a checkpoint, or the output of a run");
}

spec::ModelSpec ModelSource::spec() const {
  if (gguf_) return spec::model_spec_from_gguf(gguf_->header(), path_.string());
  const fs::path file = path_ / "config.json";
  return spec::model_spec_from_hf(io::read_text(file), file.string());
}

std::vector<std::string> ModelSource::settings_not_applied() const {
  if (gguf_) return {};
  const std::string file = (path_ / "config.json").string();
  auto lines = spec::settings_not_applied(io::read_text(file), file);
  for (auto& line : lines) line.insert(0, file + ": ");
  return lines;
}

std::optional<text::TokenizerSpec> ModelSource::tokenizer() const {
  if (gguf_) {
    if (!gguf_->header().find("tokenizer.ggml.model")) return std::nullopt;
    return spec::tokenizer_spec_from_gguf(gguf_->header(), path_.string());
  }
  const fs::path file = path_ / "tokenizer.json";
  if (!fs::exists(file)) return std::nullopt;
  return text::load_tokenizer(file).spec();
}

std::optional<text::ChatTemplateSpec> ModelSource::chat_template() const {
  auto spec = gguf_ ? gguf_chat_template(gguf_->header()) : folder_chat_template(path_);
  if (spec.source.empty()) return std::nullopt;
  return spec;
}

std::unique_ptr<Weights> ModelSource::weights() const {
  if (take_ == Take::kAverage) return average_weights(path_);
  if (gguf_) return gguf_weights(gguf_, spec());
  if (!deepspeed_.empty()) return std::make_unique<DeepSpeedWeights>(deepspeed_);
  if (!has_safetensors(path_) && has_torch_files(path_)) return torch_weights(path_);
  return safetensors_weights(path_);
}

}  // namespace hydrofoil::checkpoint
