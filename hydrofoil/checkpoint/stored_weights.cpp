// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/checkpoint/stored_weights.h"

#include <algorithm>
#include <map>
#include <mutex>
#include <set>
#include <stdexcept>
#include <utility>

#include "hydrofoil/checkpoint/floats.h"
#include "hydrofoil/checkpoint/folder.h"
#include "hydrofoil/checkpoint/reader.h"
#include "hydrofoil/core/error.h"
#include "hydrofoil/core/ggml_type.h"
#include "hydrofoil/io/safetensors_set.h"
#include "hydrofoil/io/torch_zip.h"
#include "hydrofoil/io/weight_index.h"
#include "hydrofoil/kernels/dequantize.h"
#include "hydrofoil/spec/from_gguf.h"

namespace hydrofoil::checkpoint {
namespace {

namespace fs = std::filesystem;

class SafetensorsWeights final : public Weights {
 public:
  explicit SafetensorsWeights(const fs::path& folder) : set_(folder) {}

  std::vector<int64_t> shape(const std::string& name) const override {
    return place(name).tensor->shape;
  }
  void read(const std::string& name, size_t begin, std::span<float> out) const override {
    const auto& [file, tensor] = place(name);
    read_floats(tensor->dtype, name, begin, out,
                [&, file = file, tensor = tensor](uint64_t first_byte, std::span<std::byte> bytes) {
                  file->read(*tensor, first_byte, bytes);
                });
  }

 private:
  const io::SafetensorsSet::Place& place(const std::string& name) const {
    return set_.at(stored_name(name, [&](const auto& n) { return set_.find(n) != nullptr; }));
  }
  io::SafetensorsSet set_;
};

class AverageWeights final : public Weights {
 public:
  explicit AverageWeights(const fs::path& checkpoint) : reader_(checkpoint) {
    const auto is_average = [](const auto& entry) { return entry.first.starts_with(prefix()); };
    if (!reader_.has(kOptimizerFile) ||
        std::ranges::none_of(reader_.tensors(kOptimizerFile), is_average))
      throw Error(ExitCode::kCheckpoint, "holds no average of the weights",
                  reader_.folder().string(), "train with average_decay, e.g. 0.999");
  }

  std::vector<int64_t> shape(const std::string& name) const override {
    const auto [file, stored] = place(name);
    return reader_.tensor(file, stored).shape;
  }
  void read(const std::string& name, size_t begin, std::span<float> out) const override {
    const auto [file, stored] = place(name);
    reader_.read_floats(file, stored, begin, out);
  }

 private:
  static std::string prefix() { return std::string(kAverageKind) + "."; }
  std::pair<const char*, std::string> place(const std::string& name) const {
    std::string average = prefix() + name;
    if (reader_.has(kOptimizerFile, average)) return {kOptimizerFile, std::move(average)};
    return {kModelFile, name};
  }
  const Reader reader_;
};

class TorchWeights final : public Weights {
 public:
  explicit TorchWeights(const fs::path& folder) {
    const fs::path index = folder / "pytorch_model.bin.index.json";
    if (!fs::exists(index)) {
      add(folder / "pytorch_model.bin");
      return;
    }
    std::set<fs::path> files;
    for (const auto& [tensor, file] : io::read_weight_index(index)) files.insert(file);
    for (const auto& file : files) add(file);
  }

  std::vector<int64_t> shape(const std::string& name) const override {
    return find(name).second->shape;
  }
  void read(const std::string& name, size_t begin, std::span<float> out) const override {
    const auto& [file, tensor] = find(name);
    read_floats(tensor->dtype, name, begin, out,
                [&, file = file, tensor = tensor](uint64_t first_byte, std::span<std::byte> bytes) {
                  file->read(*tensor, first_byte, bytes);
                });
  }

 private:
  using Place = std::pair<const io::TorchZipFile*, const io::TorchTensor*>;
  void add(const fs::path& path) {
    const auto& file = files_.emplace_back(std::make_unique<io::TorchZipFile>(path));
    for (const auto& tensor : file->tensors()) places_[tensor.name] = {file.get(), &tensor};
  }
  const Place& find(const std::string& name) const {
    const auto it =
        places_.find(stored_name(name, [&](const auto& n) { return places_.contains(n); }));
    if (it != places_.end()) return it->second;
    throw Error(ExitCode::kCheckpoint, "has no tensor '" + name + "'",
                files_.front()->path().string());
  }

  std::vector<std::unique_ptr<io::TorchZipFile>> files_;
  std::map<std::string, Place> places_;
};

// Where the last tensor stays, whole and as fp32: it is read in pieces, by one thread at a time.
class Whole {
 public:
  template <class Load>
  void read(const std::string& name, size_t begin, std::span<float> out, const Load& load) {
    const std::scoped_lock lock(mutex_);
    if (name != name_) {
      values_.clear();
      values_ = load();
      name_ = name;
    }
    if (begin > values_.size() || out.size() > values_.size() - begin)
      throw std::logic_error("elements beyond the end of " + name);
    std::copy_n(values_.begin() + static_cast<std::ptrdiff_t>(begin), out.size(), out.begin());
  }

 private:
  std::mutex mutex_;
  std::string name_;
  std::vector<float> values_;
};

class GgufFileWeights final : public Weights {
 public:
  GgufFileWeights(std::shared_ptr<const io::GgufFile> file, const spec::ModelSpec& spec)
      : file_(std::move(file)) {
    for (auto& weight : spec::gguf_weights(spec)) weights_.emplace(weight.name, weight);
  }

  std::vector<int64_t> shape(const std::string& name) const override { return find(name).shape; }
  void read(const std::string& name, size_t begin, std::span<float> out) const override {
    const auto& weight = find(name);
    const auto& tensor = file_->at(weight.stored_name);
    if (weight.order == spec::GgufOrder::kSame) return read_stored(tensor, begin, out);
    if (weight.order == spec::GgufOrder::kRotaryPairs) return read_rows(weight, begin, out);
    whole_.read(name, begin, out, [&] {
      size_t count = 1;
      for (const int64_t extent : weight.shape) count *= static_cast<size_t>(extent);
      std::vector<float> stored(count), values(count);
      read_stored(tensor, 0, stored);
      spec::to_hf_order(weight, stored, values);
      return values;
    });
  }
  std::optional<GgmlType> row_type(const std::string& name) const override {
    const auto& weight = find(name);
    if (weight.shape.size() != 2) return {};
    return file_->at(weight.stored_name).type;
  }
  void read_row(const std::string& name, size_t row, std::span<std::byte> out) const override {
    const auto& weight = find(name);
    file_->read(file_->at(weight.stored_name), spec::stored_row(weight, row) * out.size(), out);
  }

 private:
  // Elements of rows that lie elsewhere in the file.
  void read_rows(const spec::GgufWeight& weight, size_t begin, std::span<float> out) const {
    const size_t columns = weight.shape.size() == 2 ? static_cast<size_t>(weight.shape[1]) : 1;
    while (!out.empty()) {
      const size_t row = begin / columns, skip = begin % columns;
      const size_t count = std::min(out.size(), columns - skip);
      read_stored(file_->at(weight.stored_name), spec::stored_row(weight, row) * columns + skip,
                  out.first(count));
      begin += count;
      out = out.subspan(count);
    }
  }

  // Elements in the file's order, in parts that begin at blocks. Not from the mapping, whose pages
  // would add up to the whole file.
  void read_stored(const io::GgufTensor& tensor, size_t begin, std::span<float> out) const {
    constexpr size_t kPart = size_t{1} << 18;  // elements
    const GgmlLayout& layout = layout_of(tensor.type);
    const size_t block = layout.block_elements;
    std::vector<std::byte> bytes;
    std::vector<float> values;
    while (!out.empty()) {
      const size_t first = begin / block, skip = begin % block;
      const size_t blocks = std::min(kPart / block, (skip + out.size() + block - 1) / block);
      bytes.resize(blocks * layout.block_bytes);
      values.resize(blocks * block);
      file_->read(tensor, first * layout.block_bytes, bytes);
      kernels::dequantize(tensor.type, bytes, values);
      const size_t count = std::min(out.size(), values.size() - skip);
      std::copy_n(values.begin() + static_cast<std::ptrdiff_t>(skip), count, out.begin());
      begin += count;
      out = out.subspan(count);
    }
  }

  const spec::GgufWeight& find(const std::string& name) const {
    const auto it = weights_.find(name);
    if (it != weights_.end()) return it->second;
    throw Error(ExitCode::kCheckpoint, "has no tensor '" + name + "'", file_->path().string());
  }

  std::shared_ptr<const io::GgufFile> file_;
  std::map<std::string, spec::GgufWeight> weights_;
  mutable Whole whole_;
};

}  // namespace

std::unique_ptr<Weights> safetensors_weights(const fs::path& folder) {
  return std::make_unique<SafetensorsWeights>(folder);
}
std::unique_ptr<Weights> average_weights(const fs::path& checkpoint) {
  return std::make_unique<AverageWeights>(checkpoint);
}
std::unique_ptr<Weights> torch_weights(const fs::path& folder) {
  return std::make_unique<TorchWeights>(folder);
}
std::unique_ptr<Weights> gguf_weights(std::shared_ptr<const io::GgufFile> file,
                                      const spec::ModelSpec& spec) {
  return std::make_unique<GgufFileWeights>(std::move(file), spec);
}

}  // namespace hydrofoil::checkpoint
