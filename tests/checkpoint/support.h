// SPDX-License-Identifier: Apache-2.0
// Ranks as threads, a model whose every byte is known, and its snapshots on any number of ranks.
#pragma once

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <string>
#include <vector>

#include "hydrofoil/checkpoint/reader.h"
#include "hydrofoil/checkpoint/save.h"
#include "hydrofoil/core/parallel.h"
#include "hydrofoil/io/hash.h"
#include "hydrofoil/io/safetensors.h"
#include "tests/io/scratch.h"
#include "tests/support/ranks.h"

namespace hydrofoil::checkpoint {

using io::error_line;
using io::get;
using io::put;
using io::Scratch;
using test::run_ranks;

// Odd sizes, every width, a scalar and an empty tensor. The large one dominates, so that on any
// number of ranks slices begin and end inside of tensors.
struct Model {
  struct Tensor {
    std::string file, name;
    DType dtype;
    std::vector<int64_t> shape;
    std::vector<std::byte> bytes;
    size_t elements() const { return bytes.size() / size_of(dtype); }
  };
  int64_t step = 0;
  std::vector<Tensor> tensors;

  Model(int64_t at_step, int64_t large) : step(at_step) {
    const std::string weights = "model.safetensors", optimizer = "optimizer.safetensors";
    add(weights, "wte.weight", DType::kF32, {17, 97});
    add(weights, "h.0.bias", DType::kBF16, {5});
    add(weights, "h.0.weight", DType::kF32, {large});
    add(weights, "mask", DType::kBool, {3, 3});
    add(weights, "scale", DType::kF64, {});
    add(weights, "none", DType::kF16, {0, 4});
    add(optimizer, "exp_avg.wte.weight", DType::kF32, {17, 97});
    add(optimizer, "exp_avg.h.0.weight", DType::kF32, {large});
    add(optimizer, "step.h.0.weight", DType::kI64, {1});
  }

  std::map<std::string, std::string> texts() const {
    return {{"config.json", "{\"model_type\": \"gpt2\"}"},
            {"state.json", "{\"step\": " + std::to_string(step) + "}"}};
  }

  // The slice of `rank` when all elements of a file lie one after the other, cut in `ranks` parts.
  Snapshot snapshot(int rank, int ranks) const {
    Snapshot result{step, {{"model.safetensors", {}}, {"optimizer.safetensors", {}}}, {}};
    if (rank == 0) result.texts = texts();
    for (FileState& file : result.files) {
      size_t total = 0, position = 0;
      for (const Tensor& tensor : tensors)
        if (tensor.file == file.name) total += tensor.elements();
      const auto cut = [&](int r) {
        return total * static_cast<size_t>(r) / static_cast<size_t>(ranks);
      };
      for (const Tensor& tensor : tensors) {
        if (tensor.file != file.name) continue;
        file.tensors.push_back(state(tensor, cut(rank), cut(rank + 1), position));
        position += tensor.elements();
      }
    }
    return result;
  }

  static TensorState state(const Tensor& tensor, size_t begin, size_t end, size_t position) {
    TensorState result{tensor.name, tensor.shape, tensor.dtype, {}};
    begin = std::clamp(begin, position, position + tensor.elements()) - position;
    end = std::clamp(end, position, position + tensor.elements()) - position;
    // Two fragments where there is room, the second one first: order must not matter.
    const size_t middle = begin + (end - begin) / 3;
    for (const auto& [from, to] : {std::pair(middle, end), std::pair(begin, middle)})
      result.mine.push_back(
          {from, std::span(tensor.bytes)
                     .subspan(from * size_of(tensor.dtype), (to - from) * size_of(tensor.dtype))});
    return result;
  }

  void save_on(int ranks, const SaveOptions& options) const {
    run_ranks(ranks, [&](const comm::Communicator& group) {
      save(group, snapshot(group.rank(), group.size()), options);
    });
  }

  // The first thing that differs from what was saved; empty when nothing does. Reads in `ranks`
  // parts, as that many ranks would.
  std::string difference(const Reader& reader, int ranks = 1) const {
    if (reader.step() != step) return "step " + std::to_string(reader.step());
    for (const auto& [name, text] : texts())
      if (reader.text(name) != text) return name;
    for (const Tensor& tensor : tensors) {
      const auto& record = reader.tensor(tensor.file, tensor.name, tensor.shape);
      if (record.dtype != tensor.dtype) return "dtype of " + tensor.name;
      for (size_t part = 0; part < static_cast<size_t>(ranks); ++part) {
        const size_t n = static_cast<size_t>(ranks), width = size_of(tensor.dtype);
        const size_t begin = tensor.elements() * part / n, end = tensor.elements() * (part + 1) / n;
        std::vector<std::byte> out((end - begin) * width);
        reader.read(tensor.file, tensor.name, begin, out);
        if (!std::equal(out.begin(), out.end(),
                        tensor.bytes.begin() + static_cast<long>(begin * width)))
          return tensor.name + " from element " + std::to_string(begin);
      }
    }
    return "";
  }

 private:
  void add(const std::string& file, const std::string& name, DType dtype,
           std::vector<int64_t> shape) {
    uint64_t elements = 0, bytes = 0;
    io::count_elements(shape, dtype, elements, bytes);
    Tensor tensor{file, name, dtype, std::move(shape), std::vector<std::byte>(bytes)};
    uint64_t state = static_cast<uint64_t>(step) * 1000 + tensors.size() + 1;
    for (std::byte& byte : tensor.bytes) {  // a linear congruential generator (Knuth's constants)
      state = state * 6364136223846793005u + 1442695040888963407u;
      byte = static_cast<std::byte>(state >> 56);
    }
    tensors.push_back(std::move(tensor));
  }
};

// To be called first in a forked child: OpenMP's threads have stayed in the parent.
inline void adopt_fork() {
  set_compute_threads(1);
}

inline std::vector<std::string> names_in(const std::filesystem::path& folder) {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(folder))
    names.push_back(entry.path().filename().string());
  std::sort(names.begin(), names.end());
  return names;
}

}  // namespace hydrofoil::checkpoint
