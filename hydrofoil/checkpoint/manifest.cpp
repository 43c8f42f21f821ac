// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/checkpoint/manifest.h"

#include <nlohmann/json.hpp>
#include <stdexcept>

#include "hydrofoil/checkpoint/layout.h"
#include "hydrofoil/core/error.h"
#include "hydrofoil/io/hash.h"
#include "hydrofoil/io/json.h"
#include "hydrofoil/io/safetensors.h"

namespace hydrofoil::checkpoint {
namespace {

using Json = nlohmann::json;

constexpr const char* kHashKey = "xxh3_128";

Json file_json(const FileRecord& file) {
  Json tensors = Json::object();
  for (const auto& [name, tensor] : file.tensors)
    tensors[name] = {{"dtype", name_of(tensor.dtype)},
                     {"shape", tensor.shape},
                     {"offset", tensor.offset},
                     {kHashKey, tensor.hash}};
  Json value = {{"bytes", file.bytes},
                {"header", {{"bytes", file.header_bytes}, {kHashKey, file.header_hash}}},
                {"tensors", std::move(tensors)}};
  if (!file.part_of.empty()) value["part_of"] = file.part_of;
  return value;
}

TensorRecord parse_tensor(const Json& value, uint64_t file_bytes) {
  TensorRecord tensor;
  tensor.dtype = dtype_from_name(value.at("dtype").get<std::string>()).value();
  tensor.shape = value.at("shape").get<std::vector<int64_t>>();
  tensor.offset = value.at("offset").get<uint64_t>();
  tensor.hash = value.at(kHashKey).get<std::string>();
  uint64_t elements = 0;
  if (!io::count_elements(tensor.shape, tensor.dtype, elements, tensor.bytes) ||
      tensor.bytes > file_bytes || tensor.offset > file_bytes - tensor.bytes)
    throw std::invalid_argument("a tensor lies outside of its file");
  return tensor;
}

FileRecord parse_file(const Json& value) {
  FileRecord file;
  file.bytes = value.at("bytes").get<uint64_t>();
  file.header_bytes = value.at("header").at("bytes").get<uint64_t>();
  file.header_hash = value.at("header").at(kHashKey).get<std::string>();
  file.part_of = value.value("part_of", "");
  if (file.header_bytes > file.bytes)
    throw std::invalid_argument("a header is larger than its file");
  for (const auto& [name, tensor] : value.at("tensors").items())
    file.tensors.emplace(name, parse_tensor(tensor, file.bytes));
  return file;
}

Manifest parse_document(const Json& document) {
  Manifest manifest;
  manifest.format = document.at("format").get<int>();
  manifest.step = document.at("step").get<int64_t>();
  manifest.code_version = document.at("code_version").get<std::string>();
  manifest.created_by = document.at("created_by").get<std::string>();
  for (const auto& [name, file] : document.at("files").items())
    manifest.files.emplace(name, parse_file(file));
  for (const auto& [name, text] : document.at("texts").items())
    manifest.texts.emplace(
        name, TextRecord{text.at("bytes").get<uint64_t>(), text.at(kHashKey).get<std::string>()});
  for (const char* kind : {"files", "texts"})
    for (const auto& [name, value] : document.at(kind).items())
      if (!is_plain_name(name)) throw std::invalid_argument("a file name leads elsewhere");
  return manifest;
}

// Over the compact form, whose keys are sorted: white space does not matter.
std::string content_hash(const Json& without_hash) {
  return io::hash_of(without_hash.dump());
}

}  // namespace

uint64_t Manifest::bytes() const {
  uint64_t total = 0;
  for (const auto& [name, file] : files) total += file.bytes;
  for (const auto& [name, text] : texts) total += text.bytes;
  return total;
}

size_t Manifest::tensor_count() const {
  size_t count = 0;
  for (const auto& [name, file] : files) count += file.tensors.size();
  return count;
}

std::string manifest_text(const Manifest& manifest) {
  Json files = Json::object(), texts = Json::object();
  for (const auto& [name, file] : manifest.files) files[name] = file_json(file);
  for (const auto& [name, text] : manifest.texts)
    texts[name] = {{"bytes", text.bytes}, {kHashKey, text.hash}};
  Json document = {{"format", manifest.format},
                   {"step", manifest.step},
                   {"code_version", manifest.code_version},
                   {"created_by", manifest.created_by},
                   {"files", std::move(files)},
                   {"texts", std::move(texts)}};
  document[kHashKey] = content_hash(document);
  return document.dump(1) + "\n";
}

Manifest parse_manifest(const std::string& text, const std::string& where) {
  Json document = io::parse_json(text, where);
  try {
    const int format = document.at("format").get<int>();
    if (format > kFormat)
      throw NewerFormat(ExitCode::kCheckpoint,
                        "made by a newer Hydrofoil (format " + std::to_string(format) +
                            "; this one reads up to " + std::to_string(kFormat) + ")",
                        where, "load it with the version that saved it or a later one");
    const std::string hash = document.at(kHashKey).get<std::string>();
    document.erase(kHashKey);
    if (hash != content_hash(document))
      throw std::invalid_argument("its content does not match its own digest");
    return parse_document(document);
  } catch (const Error&) {
    throw;
  } catch (const std::exception& problem) {
    throw Error(ExitCode::kCheckpoint, std::string("not a sound manifest: ") + problem.what(),
                where, "it is damaged or was edited; use another checkpoint");
  }
}

}  // namespace hydrofoil::checkpoint
