// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/io/gguf_writer.h"

#include <unistd.h>

#include <cstring>
#include <set>
#include <stdexcept>
#include <utility>

#include "hydrofoil/io/gguf_kind.h"
#include "hydrofoil/io/name.h"
#include "hydrofoil/io/safetensors.h"

namespace hydrofoil::io {
namespace {

template <class T>
void append(std::string& out, T value) {
  const size_t end = out.size();
  out.resize(end + sizeof(T));
  std::memcpy(out.data() + end, &value, sizeof(T));
}

void append_text(std::string& out, std::string_view text) {
  append(out, uint64_t{text.size()});
  out += text;
}

void append_array(std::string& out, const GgufArray& array) {
  append(out, static_cast<uint32_t>(array.item));
  if (const auto* bytes = std::get_if<std::vector<std::byte>>(&array.items)) {
    const uint32_t width = width_of(array.item);
    if (width == 0 || bytes->size() % width != 0)
      throw std::logic_error("gguf: the bytes of an array are no whole number of its items");
    append(out, uint64_t{bytes->size() / width});
    out.append(reinterpret_cast<const char*>(bytes->data()), bytes->size());
  } else if (const auto* texts = std::get_if<std::vector<std::string>>(&array.items)) {
    append(out, uint64_t{texts->size()});
    for (const std::string& text : *texts) append_text(out, text);
  } else {
    const auto& arrays = std::get<std::vector<GgufArray>>(array.items);
    append(out, uint64_t{arrays.size()});
    for (const GgufArray& inner : arrays) append_array(out, inner);
  }
}

void append_value(std::string& out, const GgufValue& value) {
  append(out, static_cast<uint32_t>(value.kind));
  if (value.kind == GgufKind::kString)
    append_text(out, std::get<std::string>(value.value));
  else if (value.kind == GgufKind::kArray)
    append_array(out, std::get<GgufArray>(value.value));
  else
    append_scalar(out, value);
}

uint64_t aligned(uint64_t position, uint64_t alignment) {
  return (position + alignment - 1) & ~(alignment - 1);
}

uint64_t alignment_of(const std::vector<GgufEntry>& metadata) {
  for (const GgufEntry& entry : metadata)
    if (entry.key == "general.alignment") {
      const auto value = as_integer(&entry.value);
      if (!value || !is_gguf_alignment(static_cast<uint64_t>(*value)))
        throw std::logic_error("gguf: general.alignment is no power of two from 8");
      return static_cast<uint64_t>(*value);
    }
  return kGgufAlignment;
}

void append_tensor(std::string& out, const GgufTensorSpec& tensor, uint64_t offset) {
  append_text(out, tensor.name);
  append(out, static_cast<uint32_t>(tensor.shape.size()));
  for (auto dim = tensor.shape.rbegin(); dim != tensor.shape.rend(); ++dim)
    append(out, static_cast<uint64_t>(*dim));
  append(out, static_cast<uint32_t>(tensor.type));
  append(out, offset);
}

}  // namespace

GgufPlan plan_gguf(const std::vector<GgufEntry>& metadata,
                   const std::vector<GgufTensorSpec>& tensors) {
  const uint64_t alignment = alignment_of(metadata);
  GgufPlan plan;
  std::string& out = plan.header;
  out = "GGUF";
  append(out, uint32_t{3});
  append(out, uint64_t{tensors.size()});
  append(out, uint64_t{metadata.size()});
  std::set<std::string_view> keys, names;
  for (const GgufEntry& entry : metadata) {
    if (!is_plain_name(entry.key) || !keys.insert(entry.key).second)
      throw std::logic_error("gguf: the key '" + entry.key + "' is unusable or taken");
    append_text(out, entry.key);
    append_value(out, entry.value);
  }
  uint64_t end = 0;
  for (const GgufTensorSpec& tensor : tensors) {
    const auto bytes = gguf_tensor_bytes(tensor.shape, tensor.type);
    if (!is_plain_name(tensor.name) || !names.insert(tensor.name).second || !bytes ||
        tensor.shape.size() > kMaxGgufDims)
      throw std::logic_error("gguf: tensor '" + tensor.name +
                             "' has a name that is unusable or taken, or an impossible shape " +
                             shape_text(tensor.shape));
    append_tensor(out, tensor, end);
    plan.offsets.push_back(end);
    end = aligned(end + *bytes, alignment);
  }
  out.resize(aligned(out.size(), alignment), '\0');
  for (uint64_t& offset : plan.offsets) offset += out.size();
  plan.file_bytes = out.size() + end;
  return plan;
}

GgufWriter::GgufWriter(std::filesystem::path path, const std::vector<GgufEntry>& metadata,
                       std::vector<GgufTensorSpec> tensors)
    : path_(std::move(path)),
      aside_(path_.string() + ".tmp-" + unique_id()),
      tensors_(std::move(tensors)),
      plan_(plan_gguf(metadata, tensors_)),
      file_(aside_, Access::kCreate) {
  try {
    file_.reserve(plan_.file_bytes);  // with zeros: padding needs no writing
    file_.write_at(0, std::as_bytes(std::span(plan_.header)));
  } catch (...) {
    ::unlink(aside_.c_str());
    throw;
  }
}

GgufWriter::~GgufWriter() {
  if (!finished_) ::unlink(aside_.c_str());
}

void GgufWriter::write(std::string_view name, std::span<const std::byte> part) {
  const auto bytes_of = [&](size_t i) {
    return gguf_tensor_bytes(tensors_[i].shape, tensors_[i].type).value();
  };
  while (current_ < tensors_.size() && tensors_[current_].name != name &&
         written_ == bytes_of(current_)) {
    ++current_;
    written_ = 0;
  }
  if (current_ == tensors_.size() || tensors_[current_].name != name ||
      part.size() > bytes_of(current_) - written_)
    throw std::logic_error("gguf: " + std::to_string(part.size()) + " bytes of tensor '" +
                           std::string(name) + "' are out of turn or too many");
  file_.write_at(plan_.offsets[current_] + written_, part);
  written_ += part.size();
}

void GgufWriter::finish() {
  while (current_ < tensors_.size() &&
         written_ == gguf_tensor_bytes(tensors_[current_].shape, tensors_[current_].type)) {
    ++current_;
    written_ = 0;
  }
  if (current_ < tensors_.size())
    throw std::logic_error("gguf: tensor '" + tensors_[current_].name + "' is not complete");
  file_.sync();
  rename_path(aside_, path_);
  finished_ = true;
  sync_directory(path_.parent_path());
}

}  // namespace hydrofoil::io
