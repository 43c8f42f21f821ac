// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/checkpoint/reader.h"

#include <algorithm>
#include <stdexcept>
#include <vector>

#include "hydrofoil/checkpoint/agreement.h"
#include "hydrofoil/checkpoint/floats.h"
#include "hydrofoil/checkpoint/folder.h"
#include "hydrofoil/checkpoint/verify.h"
#include "hydrofoil/core/error.h"
#include "hydrofoil/io/hash.h"
#include "hydrofoil/io/safetensors.h"

namespace hydrofoil::checkpoint {

Reader::Reader(const std::filesystem::path& path)
    : folder_(resolve(path)), manifest_(read_complete(folder_)) {
  as_checkpoint_errors([&] {
    for (const auto& [name, record] : manifest_.files) {
      io::File file(folder_ / name, io::Access::kRead);
      if (hash_range(file, 0, record.header_bytes) != record.header_hash)
        throw Error(ExitCode::kCheckpoint, "its header is damaged", file.path().string(),
                    "use another checkpoint");
      const io::File& opened = files_.emplace(name, std::move(file)).first->second;
      tensors_[name];  // also where it holds nothing
      for (const auto& [tensor, place] : record.tensors) {
        tensors_[name][tensor] = {&opened, &place};
        if (!record.part_of.empty()) tensors_[record.part_of][tensor] = {&opened, &place};
      }
    }
  });
}

const Reader::Places& Reader::tensors(std::string_view file) const {
  const auto it = tensors_.find(file);
  if (it == tensors_.end())
    throw Error(ExitCode::kCheckpoint, "has no file " + std::string(file), folder_.string(),
                "hydrofoil checkpoint show lists what it holds");
  return it->second;
}

bool Reader::has(std::string_view file) const {
  return tensors_.contains(file);
}

bool Reader::has(std::string_view file, std::string_view tensor) const {
  const auto it = tensors_.find(file);
  return it != tensors_.end() && it->second.contains(tensor);
}

const TensorRecord& Reader::tensor(std::string_view file, std::string_view name) const {
  return *place(file, name).record;
}

const Reader::Place& Reader::place(std::string_view file, std::string_view name) const {
  const Places& places = tensors(file);
  const auto it = places.find(name);
  if (it == places.end())
    throw Error(ExitCode::kCheckpoint,
                std::string(file) + " has no tensor '" + std::string(name) + "'", folder_.string(),
                "it was saved from another model; hydrofoil checkpoint show lists what it holds");
  return it->second;
}

const TensorRecord& Reader::tensor(std::string_view file, std::string_view name,
                                   std::span<const int64_t> expected_shape) const {
  const TensorRecord& record = tensor(file, name);
  if (!std::equal(record.shape.begin(), record.shape.end(), expected_shape.begin(),
                  expected_shape.end()))
    throw Error(ExitCode::kCheckpoint,
                "tensor '" + std::string(name) + "' of " + std::string(file) + " has shape " +
                    io::shape_text(record.shape) + ", expected " + io::shape_text(expected_shape),
                folder_.string(), "it was saved from a model of another size");
  return record;
}

void Reader::read(std::string_view file, std::string_view tensor, size_t begin,
                  std::span<std::byte> out) const {
  const auto& [opened, place] = this->place(file, tensor);
  const TensorRecord& record = *place;
  const uint64_t element = size_of(record.dtype);
  if (out.size() % element != 0 || begin > record.bytes / element ||
      out.size() > record.bytes - begin * element)
    throw std::logic_error("read of " + std::to_string(out.size()) + " bytes from element " +
                           std::to_string(begin) + " of tensor '" + std::string(tensor) +
                           "', which has " + std::to_string(record.bytes) + " bytes");
  as_checkpoint_errors([&, from = opened] { from->read_at(record.offset + begin * element, out); });
}

void Reader::read_floats(std::string_view file, const std::string& tensor, size_t begin,
                         std::span<float> out) const {
  const DType dtype = this->tensor(file, tensor).dtype;
  checkpoint::read_floats(dtype, tensor, begin, out,
                          [&](uint64_t first_byte, std::span<std::byte> bytes) {
                            read(file, tensor, first_byte / size_of(dtype), bytes);
                          });
}

bool Reader::has_text(std::string_view name) const {
  return manifest_.texts.contains(name);
}

std::string Reader::text(std::string_view name) const {
  const auto it = manifest_.texts.find(name);
  if (it == manifest_.texts.end())
    throw Error(ExitCode::kCheckpoint, "has no " + std::string(name), folder_.string());
  std::string text;
  as_checkpoint_errors([&] { text = io::read_text(folder_ / it->first); });
  if (io::hash_of(text) != it->second.hash)
    throw Error(ExitCode::kCheckpoint, "was edited or damaged since it was saved",
                (folder_ / it->first).string(), "use another checkpoint");
  return text;
}

}  // namespace hydrofoil::checkpoint
