// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/io/gguf.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>
#include <numeric>
#include <set>
#include <stdexcept>
#include <tuple>

#include "hydrofoil/core/error.h"
#include "hydrofoil/io/gguf_kind.h"
#include "hydrofoil/io/name.h"
#include "hydrofoil/io/safetensors.h"

static_assert(std::endian::native == std::endian::little);

namespace hydrofoil::io {
namespace {

constexpr std::string_view kMagic = "GGUF";
// The least that an entry takes: what a count may promise is bounded by the bytes that follow.
constexpr uint64_t kMinEntryBytes = 8 + 1 + 4 + 1;       // key, kind, value
constexpr uint64_t kMinTensorBytes = 8 + 1 + 4 + 4 + 8;  // name, dims, type, offset
constexpr uint64_t kMinStringBytes = 8, kMinArrayBytes = 4 + 8;

// Walks through the header. Every failure names the byte where the thing begins that is wrong.
class Cursor {
 public:
  Cursor(std::span<const std::byte> file, const std::string& where)
      : bytes_(file.first(std::min<size_t>(file.size(), kMaxGgufHeaderBytes))),
        file_bytes_(file.size()),
        where_(where) {}

  uint64_t position() const { return position_; }
  uint64_t left() const { return bytes_.size() - position_; }

  [[noreturn]] void refuse(uint64_t at, const std::string& message) const {
    throw Error(ExitCode::kCheckpoint, message, where_ + ", byte " + std::to_string(at),
                "the file is damaged or not in GGUF format");
  }

  std::span<const std::byte> take(uint64_t count, const std::string& what) {
    if (count > left()) {
      if (bytes_.size() < file_bytes_)
        refuse(position_, what + ": the header has more than " +
                              std::to_string(kMaxGgufHeaderBytes) + " bytes");
      refuse(position_, what + ": expected " + std::to_string(count) + " bytes, the file has " +
                            std::to_string(left()) + " more");
    }
    const auto taken = bytes_.subspan(position_, count);
    position_ += count;
    return taken;
  }

  template <class T>
  T number(const std::string& what) {
    T value;
    std::memcpy(&value, take(sizeof(T), what).data(), sizeof(T));
    return value;
  }

  // A number of things that take at least `least` bytes each.
  uint64_t count(const std::string& what, uint64_t least) {
    const uint64_t at = position_, value = number<uint64_t>("the number of " + what);
    if (value > left() / least)
      refuse(at, std::to_string(value) + " " + what + " need at least " + std::to_string(least) +
                     " bytes each, " + std::to_string(left()) + " are left of the " +
                     (bytes_.size() < file_bytes_ ? "largest allowed header" : "file"));
    return value;
  }

  std::string text(const std::string& what) {
    const uint64_t at = position_, length = number<uint64_t>("the length of " + what);
    if (length > left())
      refuse(at, what + " of " + std::to_string(length) + " bytes, " + std::to_string(left()) +
                     " are left");
    const auto taken = take(length, what);
    return {reinterpret_cast<const char*>(taken.data()), taken.size()};
  }

  std::string name(const std::string& what) {
    const uint64_t at = position_;
    std::string value = text(what);
    if (!is_plain_name(value)) refuse(at, what + " is empty or not printable ASCII");
    return value;
  }

 private:
  std::span<const std::byte> bytes_;
  uint64_t file_bytes_;
  const std::string& where_;
  uint64_t position_ = 0;
};

GgufKind read_kind(Cursor& cursor, const std::string& what) {
  const uint64_t at = cursor.position();
  const auto id = cursor.number<uint32_t>("the type of " + what);
  if (id > static_cast<uint32_t>(GgufKind::kF64))
    cursor.refuse(at, what + " has the unknown type " + std::to_string(id) + ", expected 0 to 12");
  return static_cast<GgufKind>(id);
}

GgufArray read_array(Cursor& cursor, const std::string& what, uint32_t depth) {
  const uint64_t at = cursor.position();
  if (depth > kMaxGgufNesting)
    cursor.refuse(at, what + " nests deeper than " + std::to_string(kMaxGgufNesting));
  GgufArray array{read_kind(cursor, "the items of " + what), {}};
  if (array.item == GgufKind::kString) {
    std::vector<std::string> items;
    for (uint64_t n = cursor.count("items of " + what, kMinStringBytes); n > 0; --n)
      items.push_back(cursor.text("an item of " + what));
    array.items = std::move(items);
  } else if (array.item == GgufKind::kArray) {
    std::vector<GgufArray> items;
    for (uint64_t n = cursor.count("items of " + what, kMinArrayBytes); n > 0; --n)
      items.push_back(read_array(cursor, what, depth + 1));
    array.items = std::move(items);
  } else {
    const uint64_t width = width_of(array.item);
    const auto bytes = cursor.take(width * cursor.count("items of " + what, width), what);
    const auto is_flag = [](std::byte b) { return std::to_integer<uint8_t>(b) < 2; };
    if (array.item == GgufKind::kBool && !std::all_of(bytes.begin(), bytes.end(), is_flag))
      cursor.refuse(at, what + " holds a byte that is neither true nor false");
    array.items = std::vector<std::byte>(bytes.begin(), bytes.end());
  }
  return array;
}

GgufValue read_value(Cursor& cursor, const std::string& what) {
  GgufValue value{read_kind(cursor, what), {}};
  const uint64_t at = cursor.position();
  if (value.kind == GgufKind::kString) {
    value.value = cursor.text(what);
  } else if (value.kind == GgufKind::kArray) {
    value.value = read_array(cursor, what, 1);
  } else {
    const auto bytes = cursor.take(width_of(value.kind), what);
    if (value.kind == GgufKind::kBool && std::to_integer<uint8_t>(bytes[0]) > 1)
      cursor.refuse(at, what + " is neither true nor false");
    value = scalar_from_bytes(value.kind, bytes.data());
  }
  return value;
}

void read_metadata(Cursor& cursor, uint64_t count, GgufHeader& header) {
  std::set<std::string> seen;
  for (; count > 0; --count) {
    const uint64_t at = cursor.position();
    std::string key = cursor.name("a metadata key");
    if (!seen.insert(key).second) cursor.refuse(at, "has the key '" + key + "' twice");
    GgufValue value = read_value(cursor, "'" + key + "'");
    if (key == "general.alignment") {
      const auto* alignment = std::get_if<uint64_t>(&value.value);
      if (value.kind != GgufKind::kU32 || !is_gguf_alignment(*alignment))
        cursor.refuse(at, "general.alignment must be a power of two from 8, of 32 bits");
      header.alignment = *alignment;
    }
    header.metadata.push_back({std::move(key), std::move(value)});
  }
}

// The offset is still that of the file: from the beginning of the data.
GgufTensor read_tensor(Cursor& cursor) {
  const uint64_t at = cursor.position();
  GgufTensor tensor;
  tensor.name = cursor.name("a tensor's name");
  const std::string what = "tensor '" + tensor.name + "'";
  const auto dims = cursor.number<uint32_t>(what);
  if (dims > kMaxGgufDims)
    cursor.refuse(at, what + " has " + std::to_string(dims) + " dims, expected at most " +
                          std::to_string(kMaxGgufDims));
  for (uint32_t i = 0; i < dims; ++i) {
    const auto dim = cursor.number<uint64_t>(what);
    if (dim > uint64_t{std::numeric_limits<int64_t>::max()})
      cursor.refuse(at, what + " has a dim of " + std::to_string(dim));
    tensor.shape.insert(tensor.shape.begin(), static_cast<int64_t>(dim));
  }
  const auto id = cursor.number<uint32_t>(what);
  const auto type = ggml_type_from_id(id);
  if (!type)
    cursor.refuse(at, what + " has the type " + std::to_string(id) +
                          ", which is not supported; known are " + ggml_type_names());
  tensor.type = *type;
  const auto bytes = gguf_tensor_bytes(tensor.shape, *type);
  if (!bytes)
    cursor.refuse(at, what + ": shape " + shape_text(tensor.shape) +
                          " is too large or no whole number of blocks of " +
                          std::string(layout_of(*type).name));
  tensor.bytes = *bytes;
  tensor.offset = cursor.number<uint64_t>(what);
  return tensor;
}

void read_tensors(Cursor& cursor, uint64_t count, GgufHeader& header) {
  std::set<std::string> seen;
  for (; count > 0; --count) {
    const uint64_t at = cursor.position();
    header.tensors.push_back(read_tensor(cursor));
    const GgufTensor& tensor = header.tensors.back();
    if (!seen.insert(tensor.name).second)
      cursor.refuse(at, "has the tensor '" + tensor.name + "' twice");
    if (tensor.offset % header.alignment != 0)
      cursor.refuse(
          at, "tensor '" + tensor.name + "' begins at byte " + std::to_string(tensor.offset) +
                  " of the data, which is no multiple of " + std::to_string(header.alignment));
  }
}

// Turns offsets in the data into offsets in the file and holds them against its end and each other.
void place(GgufHeader& header, uint64_t file_bytes, const Cursor& cursor) {
  const uint64_t mask = header.alignment - 1;
  header.data_offset = (cursor.position() + mask) & ~mask;
  std::vector<const GgufTensor*> order;
  for (GgufTensor& tensor : header.tensors) {
    if (header.data_offset > file_bytes || tensor.offset > file_bytes - header.data_offset ||
        tensor.bytes > file_bytes - header.data_offset - tensor.offset)
      cursor.refuse(cursor.position(),
                    "tensor '" + tensor.name + "': " + std::to_string(tensor.bytes) +
                        " bytes at byte " + std::to_string(tensor.offset) +
                        " of the data, which begins at " + std::to_string(header.data_offset) +
                        "; the file ends at " + std::to_string(file_bytes));
    tensor.offset += header.data_offset;
    if (tensor.bytes > 0) order.push_back(&tensor);
  }
  std::sort(order.begin(), order.end(),
            [](const auto* a, const auto* b) { return a->offset < b->offset; });
  for (size_t i = 1; i < order.size(); ++i)
    if (order[i - 1]->offset + order[i - 1]->bytes > order[i]->offset)
      cursor.refuse(order[i]->offset,
                    "tensors '" + order[i - 1]->name + "' and '" + order[i]->name + "' overlap");
}

void read_magic(Cursor& cursor, GgufHeader& header) {
  const auto magic = cursor.take(kMagic.size(), "the magic number");
  if (std::memcmp(magic.data(), kMagic.data(), kMagic.size()) != 0)
    cursor.refuse(0, "does not begin with 'GGUF'");
  header.version = cursor.number<uint32_t>("the version");
  if (header.version == 2 || header.version == 3) return;
  const bool swapped = header.version != 0 && (header.version & 0xffff) == 0;
  cursor.refuse(kMagic.size(),
                swapped ? "is a big-endian file, expected little endian"
                        : "has version " + std::to_string(header.version) + ", expected 2 or 3");
}

}  // namespace

std::optional<uint64_t> gguf_tensor_bytes(std::span<const int64_t> shape, GgmlType type) {
  const GgmlLayout& layout = layout_of(type);
  int64_t count = 1, total = 0;
  for (const int64_t dim : shape)
    if (dim < 0 || __builtin_mul_overflow(count, dim, &count)) return std::nullopt;
  const int64_t inner = shape.empty() ? 1 : shape.back();
  if (inner % layout.block_elements != 0) return std::nullopt;
  if (__builtin_mul_overflow(count / layout.block_elements, int64_t{layout.block_bytes}, &total))
    return std::nullopt;
  return static_cast<uint64_t>(total);
}

const GgufValue* GgufHeader::find(std::string_view key) const {
  for (const GgufEntry& entry : metadata)
    if (entry.key == key) return &entry.value;
  return nullptr;
}

GgufHeader parse_gguf(std::span<const std::byte> file, const std::string& where) {
  Cursor cursor(file, where);
  GgufHeader header;
  read_magic(cursor, header);
  const uint64_t tensors = cursor.count("tensors", kMinTensorBytes);
  const uint64_t entries = cursor.count("metadata entries", kMinEntryBytes);
  read_metadata(cursor, entries, header);
  read_tensors(cursor, tensors, header);
  place(header, file.size(), cursor);
  return header;
}

GgufFile::GgufFile(const std::filesystem::path& path) : file_(path, Access::kRead), map_(file_) {
  header_ = parse_gguf(map_.bytes(), path.string());
  for (size_t i = 0; i < header_.tensors.size(); ++i) index_.emplace(header_.tensors[i].name, i);
}

const GgufTensor* GgufFile::find(std::string_view name) const {
  const auto it = index_.find(name);
  return it == index_.end() ? nullptr : &header_.tensors[it->second];
}

const GgufTensor& GgufFile::at(std::string_view name) const {
  if (const GgufTensor* tensor = find(name)) return *tensor;
  throw Error(ExitCode::kCheckpoint, "has no tensor '" + std::string(name) + "'", path().string());
}

void GgufFile::read(const GgufTensor& tensor, uint64_t begin, std::span<std::byte> out) const {
  if (begin > tensor.bytes || out.size() > tensor.bytes - begin)
    throw std::logic_error("read past the end of tensor '" + tensor.name + "'");
  file_.read_at(tensor.offset + begin, out);
}

std::span<const std::byte> GgufFile::mapped(const GgufTensor& tensor) const {
  return map_.bytes().subspan(tensor.offset, tensor.bytes);
}

}  // namespace hydrofoil::io
