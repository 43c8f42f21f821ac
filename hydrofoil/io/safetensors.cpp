// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/io/safetensors.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>
#include <numeric>
#include <set>
#include <stdexcept>
#include <tuple>
#include <utility>

#include "hydrofoil/core/error.h"
#include "hydrofoil/io/json.h"

namespace hydrofoil::io {
namespace {

using Json = nlohmann::json;

constexpr uint64_t kLengthBytes = 8;
constexpr uint64_t kDataAlign = 64;
constexpr std::string_view kMetadata = "__metadata__";

[[noreturn]] void refuse(const std::string& where, const std::string& message) {
  throw Error(ExitCode::kCheckpoint, message, where,
              "the file is damaged or not in safetensors format");
}

// Control characters have no place in a name and would reach a terminal.
bool is_name(std::string_view name) {
  return !name.empty() && std::none_of(name.begin(), name.end(), [](char c) {
    return static_cast<unsigned char>(c) < 0x20 || c == 0x7f;
  });
}

uint64_t header_length(std::span<const std::byte> start, uint64_t file_bytes,
                       const std::string& where) {
  if (file_bytes < kLengthBytes || start.size() < kLengthBytes)
    refuse(where, "has " + std::to_string(file_bytes) + " bytes, too few for a header");
  uint64_t length = 0;
  for (size_t i = 0; i < kLengthBytes; ++i)
    length |= std::to_integer<uint64_t>(start[i]) << (8 * i);
  if (length > kMaxSafetensorsHeaderBytes)
    refuse(where, "header of " + std::to_string(length) + " bytes; at most " +
                      std::to_string(kMaxSafetensorsHeaderBytes) + " are allowed");
  if (length < 2) refuse(where, "header of " + std::to_string(length) + " bytes is too short");
  if (length > file_bytes - kLengthBytes)
    refuse(where, "header of " + std::to_string(length) + " bytes in a file of " +
                      std::to_string(file_bytes));
  return length;
}

std::vector<uint64_t> unsigned_numbers(const Json& value) {
  std::vector<uint64_t> numbers;
  if (!value.is_array()) throw std::invalid_argument("is not a list");
  for (const Json& item : value) {
    if (!item.is_number_unsigned() ||
        item.get<uint64_t>() > uint64_t{std::numeric_limits<int64_t>::max()})
      throw std::invalid_argument("holds " + item.dump() + ", not a size");
    numbers.push_back(item.get<uint64_t>());
  }
  return numbers;
}

DType dtype_of(const Json& value) {
  if (!value.is_string()) throw std::invalid_argument("is not a text");
  const auto dtype = dtype_from_name(value.get_ref<const std::string&>());
  if (!dtype) throw std::invalid_argument("is " + value.dump() + ", which is not supported");
  return *dtype;
}

struct ByteRange {
  uint64_t begin = 0, end = 0;
};

// One entry of the header. Problems are std::invalid_argument, completed by the caller.
ByteRange read_entry(const Json& entry, StoredTensor& tensor) {
  if (!entry.is_object()) throw std::invalid_argument("is not an object");
  const char* field = "";
  try {
    for (const auto& [key, value] : entry.items())
      if (key != "dtype" && key != "shape" && key != "data_offsets")
        throw std::invalid_argument("has the unknown field " + Json(key).dump());
    for (const char* wanted : {"dtype", "shape", "data_offsets"})
      if (!entry.contains(wanted)) throw std::invalid_argument("lacks " + std::string(wanted));
    field = "dtype ";
    tensor.dtype = dtype_of(entry["dtype"]);
    field = "shape ";
    for (const uint64_t dim : unsigned_numbers(entry["shape"]))
      tensor.shape.push_back(static_cast<int64_t>(dim));
    field = "data_offsets ";
    const std::vector<uint64_t> range = unsigned_numbers(entry["data_offsets"]);
    if (range.size() != 2 || range[0] > range[1])
      throw std::invalid_argument("is not a begin and an end");
    return {range[0], range[1]};
  } catch (const std::invalid_argument& problem) {
    throw std::invalid_argument(field + std::string(problem.what()));
  }
}

StoredTensor stored_tensor(const std::string& name, const Json& entry, const std::string& where) {
  if (!is_name(name)) refuse(where, "tensor name " + Json(name).dump() + " is not usable");
  StoredTensor tensor;
  tensor.name = name;
  try {
    const ByteRange range = read_entry(entry, tensor);
    uint64_t elements = 0, bytes = 0;
    if (!count_elements(tensor.shape, tensor.dtype, elements, bytes))
      throw std::invalid_argument("shape " + shape_text(tensor.shape) + " is too large");
    if (range.end - range.begin != bytes)
      throw std::invalid_argument("data_offsets span " + std::to_string(range.end - range.begin) +
                                  " bytes, but " + std::string(name_of(tensor.dtype)) + " " +
                                  shape_text(tensor.shape) + " has " + std::to_string(bytes));
    tensor.offset = range.begin;
    tensor.bytes = bytes;
  } catch (const std::invalid_argument& problem) {
    refuse(where, "tensor '" + name + "': " + problem.what());
  }
  return tensor;
}

std::map<std::string, std::string> read_metadata(const Json& entry, const std::string& where) {
  if (!entry.is_object()) refuse(where, "__metadata__ is not an object");
  std::map<std::string, std::string> metadata;
  for (const auto& [key, value] : entry.items()) {
    if (!value.is_string()) refuse(where, "__metadata__ " + Json(key).dump() + " is not a text");
    metadata.emplace(key, value.get<std::string>());
  }
  return metadata;
}

// Sorts by place, requires the ranges to follow each other from 0 to the end of the file, and turns
// them into offsets in the file.
void place(SafetensorsHeader& header, uint64_t file_bytes, const std::string& where) {
  std::sort(header.tensors.begin(), header.tensors.end(), [](const auto& a, const auto& b) {
    return std::tie(a.offset, a.bytes, a.name) < std::tie(b.offset, b.bytes, b.name);
  });
  uint64_t end = 0;
  for (StoredTensor& tensor : header.tensors) {
    if (tensor.offset != end)
      refuse(where, "tensor '" + tensor.name + "' begins at byte " + std::to_string(tensor.offset) +
                        " of the data, expected " + std::to_string(end) +
                        (tensor.offset < end ? ": tensors overlap" : ": a gap"));
    end += tensor.bytes;  // at most 2^63 each: begin and end fit 63 bits
    tensor.offset += header.data_offset;
  }
  if (end != file_bytes - header.data_offset)
    refuse(where, "tensors have " + std::to_string(end) + " bytes, but " +
                      std::to_string(file_bytes - header.data_offset) + " follow the header");
}

std::vector<std::byte> read_start(const File& file) {
  const uint64_t size = file.size_bytes();
  std::vector<std::byte> start(std::min(size, kLengthBytes));
  file.read_at(0, start);
  const uint64_t length = header_length(start, size, file.path().string());
  start.resize(kLengthBytes + length);
  file.read_at(0, start);
  return start;
}

std::string header_entry(const TensorSpec& tensor, uint64_t begin, uint64_t end) {
  return Json(tensor.name).dump() + R"(:{"dtype":")" + std::string(name_of(tensor.dtype)) +
         R"(","shape":)" + Json(tensor.shape).dump() + R"(,"data_offsets":[)" +
         std::to_string(begin) + "," + std::to_string(end) + "]}";
}

// The length field, then the JSON with spaces up to a multiple of kDataAlign.
std::string finish_header(std::string text) {
  const uint64_t used = kLengthBytes + text.size();
  text.append((kDataAlign - used % kDataAlign) % kDataAlign, ' ');
  if (text.size() > kMaxSafetensorsHeaderBytes)
    throw std::logic_error("safetensors header of " + std::to_string(text.size()) + " bytes");
  std::string length(kLengthBytes, '\0');
  for (size_t i = 0; i < kLengthBytes; ++i) length[i] = static_cast<char>(text.size() >> (8 * i));
  return length + text;
}

}  // namespace

bool count_elements(std::span<const int64_t> shape, DType dtype, uint64_t& elements,
                    uint64_t& bytes) {
  int64_t count = 1, total = 0;
  for (const int64_t dim : shape)
    if (dim < 0 || __builtin_mul_overflow(count, dim, &count)) return false;
  if (__builtin_mul_overflow(count, static_cast<int64_t>(size_of(dtype)), &total)) return false;
  elements = static_cast<uint64_t>(count);
  bytes = static_cast<uint64_t>(total);
  return true;
}

std::string shape_text(std::span<const int64_t> shape) {
  std::string text = "[";
  for (size_t i = 0; i < shape.size(); ++i) text += (i ? ", " : "") + std::to_string(shape[i]);
  return text + "]";
}

SafetensorsHeader parse_safetensors(std::span<const std::byte> start, uint64_t file_bytes,
                                    const std::string& where) {
  const uint64_t length = header_length(start, file_bytes, where);
  if (start.size() < kLengthBytes + length) refuse(where, "ends within its header");
  const std::string_view text(reinterpret_cast<const char*>(start.data()) + kLengthBytes, length);
  if (text.front() != '{') refuse(where, "header does not start with '{'");
  const Json document = parse_json(text, where + ", header");

  SafetensorsHeader header;
  header.data_offset = kLengthBytes + length;
  for (const auto& [name, entry] : document.items()) {
    if (name == kMetadata)
      header.metadata = read_metadata(entry, where);
    else
      header.tensors.push_back(stored_tensor(name, entry, where));
  }
  place(header, file_bytes, where);
  return header;
}

SafetensorsFile::SafetensorsFile(const std::filesystem::path& path)
    : file_(path, Access::kRead), map_(file_) {
  header_ = parse_safetensors(read_start(file_), file_.size_bytes(), path.string());
  for (size_t i = 0; i < header_.tensors.size(); ++i) index_.emplace(header_.tensors[i].name, i);
}

const StoredTensor* SafetensorsFile::find(std::string_view name) const {
  const auto it = index_.find(name);
  return it == index_.end() ? nullptr : &header_.tensors[it->second];
}

const StoredTensor& SafetensorsFile::at(std::string_view name) const {
  if (const StoredTensor* tensor = find(name)) return *tensor;
  throw Error(ExitCode::kCheckpoint, "has no tensor '" + std::string(name) + "'", path().string());
}

void SafetensorsFile::read(const StoredTensor& tensor, uint64_t begin,
                           std::span<std::byte> out) const {
  if (begin > tensor.bytes || out.size() > tensor.bytes - begin)
    throw std::logic_error("read past the end of tensor '" + tensor.name + "'");
  file_.read_at(tensor.offset + begin, out);
}

std::span<const std::byte> SafetensorsFile::mapped(const StoredTensor& tensor) const {
  return map_.bytes().subspan(tensor.offset, tensor.bytes);
}

SafetensorsPlan plan_safetensors(const std::vector<TensorSpec>& tensors,
                                 const std::map<std::string, std::string>& metadata) {
  std::vector<size_t> order(tensors.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    return size_of(tensors[a].dtype) > size_of(tensors[b].dtype);
  });

  SafetensorsPlan plan;
  plan.offsets.resize(tensors.size());
  std::string text = "{";
  if (!metadata.empty()) text += '"' + std::string(kMetadata) + "\":" + Json(metadata).dump();
  std::set<std::string_view> seen{kMetadata};
  uint64_t end = 0;
  for (const size_t i : order) {
    uint64_t elements = 0, bytes = 0;
    if (!is_name(tensors[i].name) || !seen.insert(tensors[i].name).second ||
        !count_elements(tensors[i].shape, tensors[i].dtype, elements, bytes))
      throw std::logic_error("safetensors: tensor '" + tensors[i].name +
                             "' has a name that is unusable or taken, or an impossible shape " +
                             shape_text(tensors[i].shape));
    if (text.size() > 1) text += ',';
    text += header_entry(tensors[i], end, end + bytes);
    plan.offsets[i] = end;
    end += bytes;
  }
  plan.header = finish_header(text + "}");
  for (uint64_t& offset : plan.offsets) offset += plan.header.size();
  plan.file_bytes = plan.header.size() + end;
  return plan;
}

}  // namespace hydrofoil::io
