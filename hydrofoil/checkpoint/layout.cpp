// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/checkpoint/layout.h"

#include <algorithm>
#include <cstdio>
#include <map>
#include <nlohmann/json.hpp>
#include <numeric>
#include <stdexcept>
#include <utility>

#include "hydrofoil/checkpoint/manifest.h"
#include "hydrofoil/io/safetensors.h"

namespace hydrofoil::checkpoint {
namespace {

using Json = nlohmann::json;

constexpr std::string_view kSuffix = ".safetensors", kIndexSuffix = ".safetensors.index.json";

// "model-00002-of-00003.safetensors"
std::string part_name(std::string_view file, size_t part, size_t parts) {
  if (file.ends_with(kSuffix)) file.remove_suffix(kSuffix.size());
  char numbers[32];
  std::snprintf(numbers, sizeof(numbers), "-%05zu-of-%05zu", part, parts);
  return std::string(file) + numbers + std::string(kSuffix);
}

std::string quoted(const std::string& file, const std::string& tensor) {
  return "checkpoint tensor '" + tensor + "' of " + file;
}

std::string range_text(uint64_t begin, uint64_t end) {
  return "[" + std::to_string(begin) + ", " + std::to_string(end) + ")";
}

Json box_json(const Box& box) {
  Json slices = Json::array();
  for (const auto& [begin, count, replica] : box.slices) slices.push_back({begin, count, replica});
  return {box.dim, std::move(slices)};
}

Box box_from(const Json& said, const std::vector<int64_t>& whole) {
  Box box{.whole = whole, .dim = said[0].get<size_t>()};
  for (const Json& slice : said[1])
    box.slices.push_back({slice[0].get<int64_t>(), slice[1].get<int64_t>(), slice[2].get<bool>()});
  return box;
}

Json tensor_layout(const std::string& file, const TensorState& tensor) {
  Json ranges = Json::array();
  for (const Fragment& fragment : tensor.mine) {
    const size_t element = size_of(tensor.dtype);
    if (fragment.size_bytes() % element != 0)
      throw std::logic_error(quoted(file, tensor.name) + ": a fragment of " +
                             std::to_string(fragment.size_bytes()) +
                             " bytes is not made of whole elements");
    ranges.push_back({fragment.begin, fragment.begin + fragment.size_bytes() / element});
    if (!fragment.box.is_all()) ranges.back().push_back(box_json(fragment.box));
  }
  return {tensor.name, name_of(tensor.dtype), tensor.shape, std::move(ranges)};
}

// Collects what ranks say, in the order they say it.
class Joiner {
 public:
  void add(int rank, const Json& layout) {
    const auto step = layout["step"].get<int64_t>();
    if (rank == 0) plan_.step = step;
    if (step != plan_.step)
      throw std::logic_error("checkpoint: rank 0 saves step " + std::to_string(plan_.step) +
                             ", rank " + std::to_string(rank) + " step " + std::to_string(step));
    size_t index = 0;
    for (const Json& file : layout["files"])
      for (const Json& tensor : file["tensors"])
        add_tensor(rank, file["name"].get<std::string>(), tensor, index);
  }

  SavePlan take() { return std::move(plan_); }

 private:
  void add_tensor(int rank, const std::string& file_name, const Json& said, size_t& index) {
    PlannedTensor tensor;
    tensor.name = said[0].get<std::string>();
    tensor.dtype = dtype_from_name(said[1].get_ref<const std::string&>()).value();
    tensor.shape = said[2].get<std::vector<int64_t>>();
    PlannedTensor& known = find_or_add(file_name, tensor);
    if (known.dtype != tensor.dtype || known.shape != tensor.shape)
      throw std::logic_error(quoted(file_name, tensor.name) + ": rank " + std::to_string(rank) +
                             " says " + description(tensor) + ", another " + description(known));
    for (const Json& range : said[3]) {
      Piece piece{range[0].get<uint64_t>(), range[1].get<uint64_t>(), rank, index++};
      if (range.size() > 2) piece.box = box_from(range[2], tensor.shape);
      if (piece.begin != piece.end) known.pieces.push_back(std::move(piece));
    }
  }

  static std::string description(const PlannedTensor& tensor) {
    return std::string(name_of(tensor.dtype)) + " " + io::shape_text(tensor.shape);
  }

  PlannedTensor& find_or_add(const std::string& file_name, const PlannedTensor& tensor) {
    const auto [file_at, new_file] = files_.try_emplace(file_name, plan_.files.size());
    if (new_file) plan_.files.emplace_back().name = file_name;
    PlannedFile& file = plan_.files[file_at->second];
    const auto [at, is_new] =
        tensors_.try_emplace(std::pair(file_name, tensor.name), file.tensors.size());
    if (is_new) file.tensors.push_back(tensor);
    return file.tensors[at->second];
  }

  SavePlan plan_;
  std::map<std::string, size_t> files_;
  std::map<std::pair<std::string, std::string>, size_t> tensors_;
};

void require_cover(const std::string& file, PlannedTensor& tensor) {
  uint64_t elements = 0;
  if (!io::count_elements(tensor.shape, tensor.dtype, elements, tensor.bytes))
    throw std::logic_error(quoted(file, tensor.name) + ": impossible shape " +
                           io::shape_text(tensor.shape));
  const auto fail = [&](uint64_t begin, uint64_t end, const std::string& what) {
    throw std::logic_error(quoted(file, tensor.name) + ": elements " + range_text(begin, end) +
                           " of " + std::to_string(elements) + what);
  };
  uint64_t end = 0;
  int owner = 0;
  for (const PlannedRun& run : tensor.runs()) {
    const int rank = tensor.pieces[run.piece].rank;
    if (run.begin > end) fail(end, run.begin, " are owned by no rank");
    if (run.begin < end)
      fail(run.begin, std::min(end, run.end),
           " are owned by rank " + std::to_string(owner) + " and by rank " + std::to_string(rank));
    if (run.end > elements)
      fail(run.begin, run.end, " of rank " + std::to_string(rank) + " do not exist");
    end = run.end;
    owner = rank;
  }
  if (end < elements) fail(end, elements, " are owned by no rank");
}

// A file as parts of at most max_bytes of tensors, where whole tensors allow; itself when one part
// is enough.
std::vector<PlannedFile> parts_of(PlannedFile file, uint64_t max_bytes) {
  std::vector<std::vector<PlannedTensor>> groups(1);
  uint64_t bytes = 0;
  for (PlannedTensor& tensor : file.tensors) {
    if (!groups.back().empty() && bytes + tensor.bytes > max_bytes) {
      groups.emplace_back();
      bytes = 0;
    }
    bytes += tensor.bytes;
    groups.back().push_back(std::move(tensor));
  }
  std::vector<PlannedFile> parts(groups.size());
  for (size_t i = 0; i < parts.size(); ++i) {
    parts[i].name = parts.size() == 1 ? file.name : part_name(file.name, i + 1, parts.size());
    if (parts.size() > 1) parts[i].part_of = file.name;
    parts[i].tensors = std::move(groups[i]);
  }
  return parts;
}

// What Hugging Face's loaders read first.
std::string index_text(std::span<const PlannedFile> parts) {
  Json map = Json::object();
  uint64_t bytes = 0;
  for (const PlannedFile& part : parts)
    for (const PlannedTensor& tensor : part.tensors) {
      map[tensor.name] = part.name;
      bytes += tensor.bytes;
    }
  return Json{{"metadata", {{"total_size", bytes}}}, {"weight_map", std::move(map)}}.dump(2) + "\n";
}

void place(PlannedFile& file) {
  std::vector<io::TensorSpec> specs;
  for (const PlannedTensor& tensor : file.tensors)
    specs.push_back({tensor.name, tensor.dtype, tensor.shape});
  io::SafetensorsPlan plan = io::plan_safetensors(specs, {{"format", "pt"}});
  file.header = std::move(plan.header);
  file.bytes = plan.file_bytes;
  for (size_t i = 0; i < file.tensors.size(); ++i) file.tensors[i].offset = plan.offsets[i];
}

void require_name(const std::string& name) {
  if (!is_plain_name(name) || name == kManifestName || name.ends_with(kIndexSuffix))
    throw std::logic_error("checkpoint: '" + name + "' cannot be the name of a file in it");
}

}  // namespace

std::vector<PlannedRun> PlannedTensor::runs() const {
  std::vector<PlannedRun> runs;
  for (size_t i = 0; i < pieces.size(); ++i)
    pieces[i].box.for_each_run(pieces[i].begin, pieces[i].end, [&](const Box::Run& run) {
      if (!run.replica) runs.push_back({run.logical, run.logical + run.count, i});
    });
  std::ranges::sort(runs, {}, &PlannedRun::begin);
  return runs;
}

uint64_t SavePlan::bytes() const {
  uint64_t total = 0;
  for (const PlannedFile& file : files) total += file.bytes;
  for (const auto& [name, text] : indexes) total += text.size();
  return total;
}

bool is_plain_name(std::string_view name) {
  return !name.empty() && name != "." && name != ".." &&
         std::none_of(name.begin(), name.end(), [](char c) {
           return c == '/' || c == '\\' || static_cast<unsigned char>(c) < 0x20;
         });
}

std::string layout_text(const Snapshot& snapshot) {
  Json files = Json::array();
  for (const FileState& file : snapshot.files) {
    require_name(file.name);
    if (snapshot.texts.contains(file.name))
      throw std::logic_error("checkpoint: '" + file.name + "' is both a file and a text");
    Json tensors = Json::array();
    for (const TensorState& tensor : file.tensors)
      tensors.push_back(tensor_layout(file.name, tensor));
    files.push_back({{"name", file.name}, {"tensors", std::move(tensors)}});
  }
  for (const auto& [name, text] : snapshot.texts) require_name(name);
  if (snapshot.step < 0)
    throw std::logic_error("checkpoint: step " + std::to_string(snapshot.step) + " is negative");
  return Json{{"step", snapshot.step}, {"files", std::move(files)}}.dump();
}

SavePlan plan_save(std::span<const std::string> layouts, uint64_t max_file_bytes) {
  Joiner joiner;
  for (size_t rank = 0; rank < layouts.size(); ++rank)
    joiner.add(static_cast<int>(rank), Json::parse(layouts[rank]));
  SavePlan plan = joiner.take();
  for (PlannedFile& file : std::exchange(plan.files, {})) {
    for (PlannedTensor& tensor : file.tensors) require_cover(file.name, tensor);
    const std::string name = file.name;
    std::vector<PlannedFile> parts = parts_of(std::move(file), max_file_bytes);
    if (parts.size() > 1) plan.indexes[name + ".index.json"] = index_text(parts);
    for (PlannedFile& part : parts) {
      place(part);
      plan.files.push_back(std::move(part));
    }
  }
  return plan;
}

std::vector<size_t> share_of(std::span<const uint64_t> item_bytes, int rank, int size) {
  // An item belongs to the rank in whose part of the line of all bytes its middle lies. Every item
  // counts one byte more, so that empty ones are shared as well.
  double total = static_cast<double>(item_bytes.size());
  for (const uint64_t bytes : item_bytes) total += static_cast<double>(bytes);
  std::vector<size_t> mine;
  double begin = 0;
  for (size_t i = 0; i < item_bytes.size(); ++i) {
    const double length = static_cast<double>(item_bytes[i]) + 1;
    const int owner = static_cast<int>((begin + length / 2) / total * size);
    if (std::min(owner, size - 1) == rank) mine.push_back(i);
    begin += length;
  }
  return mine;
}

}  // namespace hydrofoil::checkpoint
