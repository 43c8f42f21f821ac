// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/io/torch_zip.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <optional>
#include <set>
#include <stdexcept>
#include <utility>

#include "hydrofoil/core/error.h"
#include "hydrofoil/io/name.h"
#include "hydrofoil/io/safetensors.h"
#include "hydrofoil/io/zip.h"

namespace hydrofoil::io {
namespace {

using Kind = PickleValue::Kind;
using Items = std::vector<const PickleValue*>;

constexpr std::string_view kTensor = "torch._utils _rebuild_tensor_v2";
constexpr std::string_view kParameter = "torch._utils _rebuild_parameter";
constexpr std::string_view kWithAttributes = "torch._tensor _rebuild_from_type_v2";
constexpr std::array<std::pair<std::string_view, DType>, 10> kStorages{{
    {"torch FloatStorage", DType::kF32},
    {"torch DoubleStorage", DType::kF64},
    {"torch BFloat16Storage", DType::kBF16},
    {"torch HalfStorage", DType::kF16},
    {"torch LongStorage", DType::kI64},
    {"torch IntStorage", DType::kI32},
    {"torch ShortStorage", DType::kI16},
    {"torch CharStorage", DType::kI8},
    {"torch ByteStorage", DType::kU8},
    {"torch BoolStorage", DType::kBool},
}};
constexpr std::array<std::string_view, 5> kTensorNames = {
    "collections OrderedDict", kTensor, kParameter, kWithAttributes, "torch Tensor"};
constexpr size_t kMaxDepth = 8;  // of dicts
constexpr size_t kMaxDims = 64;  // PyTorch's own limit
constexpr std::string_view kPickle = "/data.pkl";

std::vector<std::string_view> allowed_names(std::span<const std::string_view> more_names) {
  std::vector<std::string_view> names(kTensorNames.begin(), kTensorNames.end());
  for (const auto& storage : kStorages) names.push_back(storage.first);
  names.insert(names.end(), more_names.begin(), more_names.end());
  return names;
}

}  // namespace

class TorchArchive::State {
 public:
  State(std::span<const std::byte> file, const std::string& where,
        std::span<const std::string_view> more_names)
      : file_(file), where_(where) {
    refuse_other_formats();
    for (ZipEntry& entry : read_zip(file_, where_)) entries_.emplace(entry.name, entry);
    const std::string folder = find_folder();
    if (const auto order = entries_.find(folder + "/byteorder"); order != entries_.end())
      if (text_of(order->second) != "little") refuse("is not in little-endian order");
    data_ = folder + "/data/";
    pickle_.emplace(bytes_of(entries_.at(folder + std::string(kPickle))), allowed_names(more_names),
                    where_ + ", data.pkl");
    if (root().kind != Kind::kDict) refuse("does not hold a dict of tensors");
  }

  const PickleValue& root() const { return pickle_->root(); }

  TorchTensor tensor(const std::string& name, const PickleValue& value) const {
    const Items& arguments = arguments_of_tensor(name, value);
    TorchTensor tensor;
    tensor.name = name;
    tensor.shape = sizes_of(name, *arguments[2]);
    tensor.strides = sizes_of(name, *arguments[3]);
    if (tensor.shape.size() != tensor.strides.size())
      refuse_tensor(name, "has another number of strides than dims");
    const PickleValue& first = *arguments[1];
    if (first.kind != Kind::kInteger || first.integer < 0)
      refuse_tensor(name, "begins at what is no element of its storage");
    place(tensor, *arguments[0], static_cast<uint64_t>(first.integer));
    return tensor;
  }

 private:
  [[noreturn]] void refuse(const std::string& message, const std::string& hint = {}) const {
    throw Error(ExitCode::kCheckpoint, message, where_, hint);
  }
  [[noreturn]] void refuse_tensor(const std::string& name, const std::string& message) const {
    refuse("tensor '" + name + "': " + message);
  }

  // A pickle begins with 0x80 and its protocol: the format before PyTorch 1.6.
  void refuse_other_formats() const {
    if (file_.size() > 1 && file_[0] == std::byte{0x80} && std::to_integer<int>(file_[1]) <= 5)
      refuse("is in the format of PyTorch before 1.6, which is not supported",
             "load it there and save it again, best as safetensors");
  }

  std::span<const std::byte> bytes_of(const ZipEntry& entry) const {
    return file_.subspan(entry.offset, entry.bytes);
  }
  std::string_view text_of(const ZipEntry& entry) const {
    const auto bytes = bytes_of(entry);
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }

  std::string find_folder() const {
    std::string found;
    for (const auto& [name, entry] : entries_)
      if (name.ends_with(kPickle) && name.find('/') + kPickle.size() == name.size()) {
        if (!found.empty()) refuse("holds two entries data.pkl");
        found = name.substr(0, name.size() - kPickle.size());
      }
    if (found.empty())
      refuse("is a ZIP archive without FOLDER/data.pkl: not written by torch.save");
    return found;
  }

  const Items& arguments_of(const std::string& name, const PickleValue& call, size_t least) const {
    const Items& arguments = call.items.at(0)->items;
    if (arguments.size() < least || arguments.size() > 8)
      refuse_tensor(name, "is made from " + std::to_string(arguments.size()) + " arguments");
    return arguments;
  }

  static bool calls(const PickleValue& value, std::string_view what) {
    return value.kind == Kind::kCall && value.text == what;
  }

  // A tensor is (storage, first element, shape, strides, requires_grad, hooks); a parameter is its
  // tensor (and requires_grad and hooks); a tensor with attributes is (function, type, arguments of
  // the function, attributes).
  const Items& arguments_of_tensor(const std::string& name, const PickleValue& value) const {
    const PickleValue& call = calls(value, kParameter) ? *arguments_of(name, value, 1)[0] : value;
    if (calls(call, kTensor)) return arguments_of(name, call, 4);
    if (!calls(call, kWithAttributes)) refuse_tensor(name, "is no tensor");
    const Items& parts = arguments_of(name, call, 3);
    if (parts[0]->text != kTensor || parts[2]->kind != Kind::kTuple || parts[2]->items.size() < 4)
      refuse_tensor(name, "has attributes, but is no tensor");
    return parts[2]->items;
  }

  std::vector<int64_t> sizes_of(const std::string& name, const PickleValue& tuple) const {
    std::vector<int64_t> sizes;
    if (tuple.kind != Kind::kTuple || tuple.items.size() > kMaxDims)
      refuse_tensor(name, "its shape or strides are no tuple");
    for (const PickleValue* item : tuple.items) {
      if (item->kind != Kind::kInteger || item->integer < 0)
        refuse_tensor(name, "its shape or strides hold what is no size");
      sizes.push_back(item->integer);
    }
    return sizes;
  }

  // Where its elements lie. A storage is ("storage", type, key, device, elements).
  void place(TorchTensor& tensor, const PickleValue& persistent, uint64_t first) const {
    const std::string& name = tensor.name;
    if (persistent.kind != Kind::kPersistent || persistent.items[0]->kind != Kind::kTuple)
      refuse_tensor(name, "has no storage");
    const Items& id = persistent.items[0]->items;
    if (id.size() != 5 || id[0]->text != "storage" || id[1]->kind != Kind::kGlobal ||
        id[2]->kind != Kind::kText || id[4]->kind != Kind::kInteger)
      refuse_tensor(name, "has a storage that is not described as torch.save does");
    const auto type = std::find_if(kStorages.begin(), kStorages.end(),
                                   [&](const auto& entry) { return entry.first == id[1]->text; });
    if (type == kStorages.end()) refuse_tensor(name, "has a storage of no element type");
    const auto entry = entries_.find(data_ + id[2]->text);
    if (entry == entries_.end()) refuse_tensor(name, "its storage is not in the archive");
    tensor.dtype = type->second;
    const uint64_t elements = entry->second.bytes / size_of(tensor.dtype);
    if (entry->second.bytes % size_of(tensor.dtype) != 0 ||
        id[4]->integer != static_cast<int64_t>(elements))
      refuse_tensor(name, "its storage of " + std::to_string(id[4]->integer) + " elements has " +
                              std::to_string(entry->second.bytes) + " bytes");
    check_inside(tensor, first, elements);
    tensor.offset = entry->second.offset + first * size_of(tensor.dtype);
  }

  // Every element is one of the storage, and there are not more of them than there.
  void check_inside(TorchTensor& tensor, uint64_t first, uint64_t storage) const {
    uint64_t elements = 0;
    if (!count_elements(tensor.shape, tensor.dtype, elements, tensor.bytes) || elements > storage)
      refuse_tensor(tensor.name, "shape " + shape_text(tensor.shape) +
                                     " has more elements than its storage of " +
                                     std::to_string(storage));
    uint64_t last = first;
    for (size_t i = 0; i < tensor.shape.size() && elements > 0; ++i) {
      uint64_t reach = 0;
      if (__builtin_mul_overflow(static_cast<uint64_t>(tensor.shape[i] - 1),
                                 static_cast<uint64_t>(tensor.strides[i]), &reach) ||
          __builtin_add_overflow(last, reach, &last))
        last = storage;
      if (last >= storage) break;
    }
    if (elements > 0 ? last >= storage : first > storage)
      refuse_tensor(tensor.name, "strides " + shape_text(tensor.strides) + " of shape " +
                                     shape_text(tensor.shape) + " from element " +
                                     std::to_string(first) + " lead out of its storage of " +
                                     std::to_string(storage));
  }

  std::span<const std::byte> file_;
  const std::string where_;
  std::map<std::string, ZipEntry, std::less<>> entries_;
  std::string data_;  // folder of the storages
  std::optional<Pickle> pickle_;
};

TorchArchive::TorchArchive(std::span<const std::byte> file, const std::string& where,
                           std::span<const std::string_view> more_names)
    : state_(std::make_unique<State>(file, where, more_names)) {}
TorchArchive::TorchArchive(TorchArchive&&) noexcept = default;
TorchArchive::~TorchArchive() = default;

const PickleValue& TorchArchive::root() const {
  return state_->root();
}

bool TorchArchive::is_tensor(const PickleValue& value) {
  return value.kind == Kind::kCall &&
         (value.text == kTensor || value.text == kParameter || value.text == kWithAttributes);
}

TorchTensor TorchArchive::tensor(const std::string& name, const PickleValue& value) const {
  return state_->tensor(name, value);
}

namespace {

// The tensors of dicts that may nest.
class TensorsOfDicts {
 public:
  TensorsOfDicts(const TorchArchive& archive, const std::string& where)
      : archive_(archive), where_(where) {}

  std::vector<TorchTensor> collect() {
    collect(archive_.root(), "", 1);
    return std::move(tensors_);
  }

 private:
  [[noreturn]] void refuse(const std::string& message) const {
    throw Error(ExitCode::kCheckpoint, message, where_);
  }

  void collect(const PickleValue& dict, const std::string& prefix, size_t depth) {
    if (depth > kMaxDepth) refuse("nests dicts deeper than " + std::to_string(kMaxDepth));
    // A dict that stands in several places would make a small file a large list.
    if (!seen_.insert(&dict).second) refuse("holds the same dict in two places");
    for (size_t i = 0; i < dict.items.size(); i += 2) {
      const PickleValue &key = *dict.items[i], &value = *dict.items[i + 1];
      if (value.kind != Kind::kDict && value.kind != Kind::kCall) continue;
      if (key.kind != Kind::kText && key.kind != Kind::kInteger)
        refuse("has a key that is no text");
      const std::string name =
          prefix + (key.kind == Kind::kText ? key.text : std::to_string(key.integer));
      if (value.kind == Kind::kDict) {
        if (!value.items.empty()) collect(value, name + ".", depth + 1);
        continue;
      }
      if (!is_plain_name(name)) refuse("has a tensor whose name is empty or not printable ASCII");
      if (!names_.insert(name).second) refuse("has the tensor '" + name + "' twice");
      tensors_.push_back(archive_.tensor(name, value));
    }
  }

  const TorchArchive& archive_;
  const std::string& where_;
  std::set<const PickleValue*> seen_;
  std::set<std::string> names_;
  std::vector<TorchTensor> tensors_;
};

}  // namespace

std::vector<TorchTensor> parse_torch_zip(std::span<const std::byte> file,
                                         const std::string& where) {
  const TorchArchive archive(file, where, {});
  return TensorsOfDicts(archive, where).collect();
}

// Runs of contiguous innermost dims are copied at once; the outer ones count like an odometer.
void read_strided(std::span<const std::byte> file, const TorchTensor& tensor, uint64_t begin,
                  std::span<std::byte> out) {
  if (begin > tensor.bytes || out.size() > tensor.bytes - begin)
    throw std::logic_error("tensor '" + tensor.name + "' has " + std::to_string(tensor.bytes) +
                           " bytes");
  if (out.empty()) return;
  const uint64_t element = size_of(tensor.dtype);
  uint64_t run = element;  // bytes
  size_t outer = tensor.shape.size();
  while (outer > 0 && (tensor.shape[outer - 1] == 1 ||
                       static_cast<uint64_t>(tensor.strides[outer - 1]) == run / element))
    run *= static_cast<uint64_t>(tensor.shape[--outer]);
  const auto extent = [&](size_t i) { return static_cast<uint64_t>(tensor.shape[i]); };
  const auto stride = [&](size_t i) { return static_cast<uint64_t>(tensor.strides[i]) * element; };
  std::vector<uint64_t> index(outer, 0);
  uint64_t from = tensor.offset, number = begin / run, skip = begin % run;
  for (size_t i = outer; i-- > 0; number /= extent(i)) {
    index[i] = number % extent(i);
    from += index[i] * stride(i);
  }
  while (!out.empty()) {
    const size_t count = std::min<uint64_t>(run - skip, out.size());
    std::memcpy(out.data(), file.data() + from + skip, count);
    out = out.subspan(count);
    skip = 0;
    for (size_t i = outer; i-- > 0;) {
      from += stride(i);
      if (++index[i] < extent(i)) break;
      from -= stride(i) * extent(i);
      index[i] = 0;
    }
  }
}

TorchZipFile::TorchZipFile(const std::filesystem::path& path)
    : file_(path, Access::kRead),
      map_(file_),
      tensors_(parse_torch_zip(map_.bytes(), path.string())) {
  for (size_t i = 0; i < tensors_.size(); ++i) index_.emplace(tensors_[i].name, i);
}

const TorchTensor* TorchZipFile::find(std::string_view name) const {
  const auto it = index_.find(name);
  return it == index_.end() ? nullptr : &tensors_[it->second];
}

const TorchTensor& TorchZipFile::at(std::string_view name) const {
  if (const TorchTensor* tensor = find(name)) return *tensor;
  throw Error(ExitCode::kCheckpoint, "has no tensor '" + std::string(name) + "'", path().string());
}

void TorchZipFile::read(const TorchTensor& tensor, uint64_t begin, std::span<std::byte> out) const {
  read_strided(map_.bytes(), tensor, begin, out);
  map_.let_go();
}

}  // namespace hydrofoil::io
