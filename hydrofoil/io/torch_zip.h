// SPDX-License-Identifier: Apache-2.0
// Checkpoints that torch.save wrote (.bin, .pt, .pth; PyTorch 1.6 and later): a ZIP archive with a
// pickle that describes tensors and one entry for each storage.
//
//   TorchZipFile file("pytorch_model.bin");
//   const TorchTensor& tensor = file.at("wte.weight");    // dtype, shape, strides
//   std::vector<std::byte> bytes(tensor.bytes);
//   file.read(tensor, 0, bytes);                          // contiguous, whatever the strides
//
// The pickle is data, not a program: a name that is not needed for a dict of tensors is refused,
// and nothing is ever executed. Dicts may nest: the names of their tensors are joined by '.', and
// what is neither a dict nor a tensor (counters, settings) is left out. Failures are
// Error(kCheckpoint).
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "hydrofoil/core/dtype.h"
#include "hydrofoil/io/file.h"
#include "hydrofoil/io/pickle.h"

namespace hydrofoil::io {

struct TorchTensor {
  std::string name;
  DType dtype = DType::kF32;
  std::vector<int64_t> shape;
  std::vector<int64_t> strides;  // in elements; never negative
  uint64_t offset = 0;           // of the first element, from the beginning of the file
  uint64_t bytes = 0;            // when contiguous; not more than its storage has
};

// file: all of its bytes. where: shown in errors. In the order of the dicts; tensors may share
// bytes.
std::vector<TorchTensor> parse_torch_zip(std::span<const std::byte> file, const std::string& where);

// The same where tensors stand in more than dicts: all that the file describes, as inert values.
class TorchArchive {
 public:
  // file: must outlive this. more_names: may occur beside those that tensors need (pickle.h).
  TorchArchive(std::span<const std::byte> file, const std::string& where,
               std::span<const std::string_view> more_names);
  TorchArchive(TorchArchive&&) noexcept;
  ~TorchArchive();

  const PickleValue& root() const;  // a dict
  static bool is_tensor(const PickleValue& value);
  // The tensor that a value describes, under a name that errors show too.
  TorchTensor tensor(const std::string& name, const PickleValue& value) const;

 private:
  class State;
  std::unique_ptr<State> state_;
};

class TorchZipFile {
 public:
  explicit TorchZipFile(const std::filesystem::path& path);

  const std::filesystem::path& path() const { return file_.path(); }
  const std::vector<TorchTensor>& tensors() const { return tensors_; }
  const TorchTensor* find(std::string_view name) const;  // null when absent
  const TorchTensor& at(std::string_view name) const;    // Error(kCheckpoint) when absent

  // Bytes [begin, begin + out.size()) of the tensor's elements, row by row. Thread-safe.
  void read(const TorchTensor& tensor, uint64_t begin, std::span<std::byte> out) const;

 private:
  File file_;
  MappedFile map_;
  std::vector<TorchTensor> tensors_;
  std::map<std::string, size_t, std::less<>> index_;
};

// The same from the bytes of the file.
void read_strided(std::span<const std::byte> file, const TorchTensor& tensor, uint64_t begin,
                  std::span<std::byte> out);

}  // namespace hydrofoil::io
