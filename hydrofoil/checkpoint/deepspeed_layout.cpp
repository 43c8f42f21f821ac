// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/checkpoint/deepspeed_layout.h"

#include <algorithm>
#include <array>

#include "hydrofoil/core/align.h"
#include "hydrofoil/core/error.h"
#include "hydrofoil/io/name.h"
#include "hydrofoil/io/safetensors.h"

namespace hydrofoil::checkpoint {
namespace {

namespace fs = std::filesystem;
using Kind = io::PickleValue::Kind;

// Objects that DeepSpeed and its callers put beside tensors. They stay inert.
constexpr std::array<std::string_view, 9> kNames = {
    "torch Size",
    "deepspeed.runtime.fp16.loss_scaler LossScaler",
    "deepspeed.runtime.fp16.loss_scaler DynamicLossScaler",
    "deepspeed.runtime.zero.config ZeroStageEnum",
    "deepspeed.utils.tensor_fragment fragment_address",
    "argparse Namespace",
    "torch float32",
    "torch bfloat16",
    "torch float16",
};

std::string optimizer_name(const std::string& prefix, int64_t rank) {
  return prefix + "zero_pp_rank_" + std::to_string(rank) + "_mp_rank_00_optim_states.pt";
}

uint64_t elements_of(const std::vector<int64_t>& shape) {
  uint64_t elements = 0, bytes = 0;
  io::count_elements(shape, DType::kF32, elements, bytes);
  return elements;
}

}  // namespace

std::string model_slice_name(int64_t rank) {
  return "zero_pp_rank_" + std::to_string(rank) + "_mp_rank_00_model_states.pt";
}

// ---- values of a file

void DeepSpeedLayout::StateFile::refuse(const std::string& message) const {
  throw Error(ExitCode::kCheckpoint, message, where, "is it a checkpoint of DeepSpeed's ZeRO?");
}

const io::PickleValue* DeepSpeedLayout::StateFile::find(const Value& dict,
                                                        std::string_view key) const {
  if (dict.kind != Kind::kDict) refuse("has no dict where '" + std::string(key) + "' should stand");
  for (size_t i = 0; i + 1 < dict.items.size(); i += 2)
    if (dict.items[i]->kind == Kind::kText && dict.items[i]->text == key)
      return dict.items[i + 1]->kind == Kind::kNone ? nullptr : dict.items[i + 1];
  return nullptr;
}

const io::PickleValue& DeepSpeedLayout::StateFile::at(const Value& dict,
                                                      std::string_view key) const {
  if (const Value* value = find(dict, key)) return *value;
  refuse("has no '" + std::string(key) + "'");
}

int64_t DeepSpeedLayout::StateFile::integer(const Value& value) const {
  if (value.kind == Kind::kInteger && value.integer >= 0) return value.integer;
  const bool call = value.kind == Kind::kCall;
  if (!call && value.kind != Kind::kList) refuse("has something else where a count should stand");
  int64_t largest = 0;
  for (const Value* item : call ? value.items.at(0)->items : value.items) {
    if (item->kind != Kind::kInteger) refuse("has something else where a count should stand");
    largest = std::max(largest, item->integer);
  }
  return largest;
}

DeepSpeedLayout::Shapes DeepSpeedLayout::StateFile::shapes(const Value& dict) const {
  if (dict.kind != Kind::kDict) refuse("has no dict of shapes");
  Shapes shapes;
  for (size_t i = 0; i + 1 < dict.items.size(); i += 2) {
    const Value& name = *dict.items[i];
    const Value* sizes = dict.items[i + 1];
    if (name.kind != Kind::kText || !io::is_plain_name(name.text))
      refuse("has a shape without a name");
    if (sizes->kind == Kind::kCall && !sizes->items.at(0)->items.empty())
      sizes = sizes->items.at(0)->items[0];
    std::vector<int64_t> shape;
    for (const Value* size : sizes->items)
      shape.push_back(size->kind == Kind::kInteger ? size->integer : -1);
    uint64_t elements = 0, bytes = 0;
    if (sizes->kind != Kind::kTuple || !io::count_elements(shape, DType::kF32, elements, bytes))
      refuse("'" + name.text + "' has an impossible shape");
    shapes.emplace_back(name.text, std::move(shape));
  }
  return shapes;
}

// ---- flat tensors

void DeepSpeedLayout::Chain::add(const Flat* flat) {
  flats.push_back(flat);
  elements += flat->tensor.bytes / size_of(flat->tensor.dtype);
}

void DeepSpeedLayout::Chain::cut(uint64_t begin, uint64_t count, std::vector<Piece>& pieces) const {
  uint64_t at = 0;
  for (const Flat* flat : flats) {
    const uint64_t length = flat->tensor.bytes / size_of(flat->tensor.dtype);
    const uint64_t from = std::max(begin, at), to = std::min(begin + count, at + length);
    if (from < to) pieces.push_back({flat, from - at, to - from});
    at += length;
  }
}

// ---- files

DeepSpeedLayout::DeepSpeedLayout(DeepSpeedWeights& weights) : weights_(weights) {
  for (const auto& entry : fs::directory_iterator(weights.folder_)) {
    const std::string name = entry.path().filename();
    if (name.ends_with("model_states.pt") || name.ends_with("optim_states.pt")) names_.insert(name);
  }
}

void DeepSpeedLayout::build() {
  open_optimizers();
  open_models();
  if (!names_.empty())
    refuse(
        "has the file " + *names_.begin() + ", which has no place among those of " +
            std::to_string(std::max<size_t>(1, optimizers_.size())) + " ranks of stage " +
            std::to_string(stage_),
        "a left-over of another save? Checkpoints of pipeline, tensor and expert parallelism are "
        "not read");
  const auto add_all = [&](const std::string& prefix, const Slices& slices) {
    if (stage_ == 3) return add_sliced(prefix, slices);
    add_groups(prefix, slices);
  };
  if (stage_ > 0) {
    add_all("", weight_slices());
    for (const std::string kind : {"exp_avg", "exp_avg_sq"})
      if (const Slices slices = moment_slices(kind); !slices.empty()) add_all(kind + ".", slices);
    add_frozen();
    add_aliases();
  }
  add_module();
}

void DeepSpeedLayout::refuse(const std::string& message, const std::string& hint) const {
  throw Error(ExitCode::kCheckpoint, message, weights_.folder_.string(), hint);
}

DeepSpeedLayout::StateFile DeepSpeedLayout::open(const std::string& name) {
  if (names_.erase(name) == 0)
    refuse("has no file " + name, "every rank's file is needed; was one not copied?");
  const fs::path path = weights_.folder_ / name;
  const auto& map = weights_.files_.emplace_back(io::File(path, io::Access::kRead));
  return {path.string(), &map, io::TorchArchive(map.bytes(), path.string(), kNames)};
}

void DeepSpeedLayout::open_optimizers() {
  const bool any = std::any_of(names_.begin(), names_.end(), [](const std::string& name) {
    return name.ends_with("optim_states.pt");
  });
  if (!any) return;
  const std::string prefix = names_.contains(optimizer_name("bf16_", 0)) ? "bf16_" : "";
  optimizers_.push_back(open(optimizer_name(prefix, 0)));
  const StateFile& first = optimizers_.front();
  const Value& state = first.at(first.archive.root(), "optimizer_state_dict");
  stage_ = first.integer(first.at(state, "zero_stage"));
  const int64_t ranks = first.integer(first.at(state, "partition_count"));
  if (stage_ < 1 || stage_ > 3) first.refuse("is of stage " + std::to_string(stage_));
  for (int64_t rank = 1; rank < ranks; ++rank)
    optimizers_.push_back(open(optimizer_name(prefix, rank)));
}

void DeepSpeedLayout::open_models() {
  const auto ranks = static_cast<int64_t>(optimizers_.size());
  if (stage_ < 3) models_.push_back(open(kWholeModelName));
  for (int64_t rank = 0; stage_ == 3 && rank < ranks; ++rank)
    models_.push_back(open(model_slice_name(rank)));
  const StateFile& first = models_.front();
  const Value& root = first.archive.root();
  const auto count = [&](const char* key) {
    const Value* value = first.find(root, key);
    return value ? first.integer(*value) : 0;
  };
  weights_.progress_ = {count("global_steps"), count("skipped_steps"), count("global_samples")};
  if (stage_ == 0) return;
  const Value& groups = first.at(root, "param_shapes");
  if (groups.kind != Kind::kList) first.refuse("'param_shapes' is no list");
  for (const Value* group : groups.items) groups_.push_back(first.shapes(*group));
}

const DeepSpeedLayout::Flat* DeepSpeedLayout::keep(const StateFile& file, const std::string& name,
                                                   const Value& value) {
  weights_.flats_.push_back({file.map, file.archive.tensor(name, value)});
  return &weights_.flats_.back();
}

DeepSpeedLayout::Slices DeepSpeedLayout::weight_slices() {
  const char* key = stage_ == 3 ? "fp32_flat_groups" : "single_partition_of_fp32_groups";
  Slices slices;
  for (const StateFile& file : optimizers_) {
    const Value& groups = file.at(file.at(file.archive.root(), "optimizer_state_dict"), key);
    if (groups.kind != Kind::kList) file.refuse("'" + std::string(key) + "' is no list");
    auto& mine = slices.emplace_back();
    for (const Value* group : groups.items) mine.push_back(keep(file, key, *group));
  }
  return slices;
}

// Empty where the first rank keeps none: another optimizer, or they were left out.
DeepSpeedLayout::Slices DeepSpeedLayout::moment_slices(const std::string& kind) {
  const char* key = stage_ == 3 ? "optimizer_state_dict" : "base_optimizer_state";
  Slices slices;
  for (const StateFile& file : optimizers_) {
    const Value* base = file.find(file.at(file.archive.root(), "optimizer_state_dict"), key);
    const Value* states = base && base->kind == Kind::kDict ? file.find(*base, "state") : nullptr;
    auto& mine = slices.emplace_back();
    for (size_t i = 1; states && i < states->items.size(); i += 2)
      if (const Value* flat = file.find(*states->items[i], kind))
        mine.push_back(keep(file, kind, *flat));
    if (mine.empty() && slices.size() == 1) return {};
  }
  return slices;
}

// ---- tensors

void DeepSpeedLayout::add(const std::string& name, std::vector<int64_t> shape,
                          std::vector<Piece> pieces) {
  if (!weights_.tensors_.try_emplace(name, std::move(shape), std::move(pieces)).second)
    refuse("has the tensor '" + name + "' twice");
}

// Elements between a parameter and the next.
std::vector<int64_t> DeepSpeedLayout::paddings(size_t group, size_t parameters) const {
  const StateFile& first = optimizers_.front();
  std::vector<int64_t> result(parameters, 0);
  const Value* all = first.find(first.at(first.archive.root(), "optimizer_state_dict"),
                                "param_alignment_paddings");
  if (!all) return result;
  if (group >= all->items.size() || all->items[group]->items.size() != parameters)
    first.refuse("'param_alignment_paddings' is for other parameters");
  for (size_t i = 0; i < parameters; ++i) result[i] = first.integer(*all->items[group]->items[i]);
  return result;
}

// A group is one flat tensor, cut into as many parts as there are ranks.
void DeepSpeedLayout::add_groups(const std::string& prefix, const Slices& slices) {
  for (size_t group = 0; group < groups_.size(); ++group) {
    Chain chain;
    for (size_t rank = 0; rank < slices.size(); ++rank) {
      if (group >= slices[rank].size())
        optimizers_[rank].refuse("has " + std::to_string(slices[rank].size()) +
                                 " parameter groups, expected " + std::to_string(groups_.size()));
      chain.add(slices[rank][group]);
    }
    const auto padding = paddings(group, groups_[group].size());
    uint64_t offset = 0;
    for (size_t i = 0; i < groups_[group].size(); ++i) {
      const auto& [name, shape] = groups_[group][i];
      const uint64_t count = elements_of(shape);
      if (offset > chain.elements || count > chain.elements - offset)
        refuse("tensor '" + prefix + name + "' ends at element " + std::to_string(offset + count) +
               " of its group, which has " + std::to_string(chain.elements));
      std::vector<Piece> pieces;
      chain.cut(offset, count, pieces);
      add(prefix + name, shape, std::move(pieces));
      offset += count + static_cast<uint64_t>(padding[i]);
    }
    // Groups are padded to two elements a rank; that may or may not have been stripped again.
    const uint64_t block = 2 * slices.size();
    if (round_up(offset, block) != round_up(chain.elements, block))
      refuse("parameter group " + std::to_string(group) + " has " + std::to_string(chain.elements) +
             " elements, its parameters take " + std::to_string(offset));
  }
}

// Every parameter is cut into equal parts; each rank has its parts in a row.
void DeepSpeedLayout::add_sliced(const std::string& prefix, const Slices& slices) {
  std::vector<Chain> chains(slices.size());
  for (size_t rank = 0; rank < slices.size(); ++rank)
    for (const Flat* flat : slices[rank]) chains[rank].add(flat);
  uint64_t offset = 0;
  for (const Shapes& group : groups_)
    for (const auto& [name, shape] : group) {
      const uint64_t count = elements_of(shape);
      const uint64_t part = round_up(count, slices.size()) / slices.size();
      std::vector<Piece> pieces;
      for (size_t rank = 0; rank < slices.size(); ++rank) {
        if (offset > chains[rank].elements || part > chains[rank].elements - offset)
          optimizers_[rank].refuse("tensor '" + prefix + name + "' ends at element " +
                                   std::to_string(offset + part) + " of " +
                                   std::to_string(chains[rank].elements));
        chains[rank].cut(offset, std::min(part, count - std::min(count, rank * part)), pieces);
      }
      add(prefix + name, shape, std::move(pieces));
      offset += part;
    }
  for (size_t rank = 0; rank < slices.size(); ++rank)
    if (chains[rank].elements != offset)
      optimizers_[rank].refuse("has " + std::to_string(chains[rank].elements) +
                               " elements, the parameters take " + std::to_string(offset));
}

// Whole in the first file, or a part in the file of each rank.
void DeepSpeedLayout::add_frozen() {
  const StateFile& first = models_.front();
  const Value* all = first.find(first.archive.root(), "frozen_param_shapes");
  if (!all) return;
  for (const auto& [name, shape] : first.shapes(*all)) {
    Chain chain;
    for (const StateFile& file : models_) {
      const Value& fragments = file.at(file.archive.root(), "frozen_param_fragments");
      chain.add(keep(file, name, file.at(fragments, name)));
    }
    if (elements_of(shape) > chain.elements)
      refuse("frozen tensor '" + name + "' has " + std::to_string(chain.elements) +
             " elements, expected shape " + io::shape_text(shape));
    std::vector<Piece> pieces;
    chain.cut(0, elements_of(shape), pieces);
    add(name, shape, std::move(pieces));
  }
}

void DeepSpeedLayout::add_aliases() {
  const StateFile& first = models_.front();
  const Value* shared = first.find(first.archive.root(), "shared_params");
  if (!shared) return;
  if (shared->kind != Kind::kDict) first.refuse("'shared_params' is no dict");
  for (size_t i = 0; i + 1 < shared->items.size(); i += 2)
    for (const std::string prefix : {"", "exp_avg.", "exp_avg_sq."}) {
      const auto source = weights_.tensors_.find(prefix + shared->items[i + 1]->text);
      if (source != weights_.tensors_.end())
        weights_.tensors_.try_emplace(prefix + shared->items[i]->text, source->second);
    }
}

// What the optimizer does not have: buffers, and at stages 0 to 2 parameters of the model's type.
void DeepSpeedLayout::add_module() {
  const StateFile& first = models_.front();
  const Value& module = first.at(first.archive.root(), "module");
  if (module.kind != Kind::kDict) first.refuse("'module' is no dict");
  for (size_t i = 0; i + 1 < module.items.size(); i += 2) {
    const Value &name = *module.items[i], &value = *module.items[i + 1];
    if (name.kind != Kind::kText || !io::is_plain_name(name.text) ||
        weights_.tensors_.contains(name.text) || !io::TorchArchive::is_tensor(value))
      continue;
    const Flat* flat = keep(first, name.text, value);
    const uint64_t count = flat->tensor.bytes / size_of(flat->tensor.dtype);
    if (count == 0) continue;  // a parameter that is elsewhere
    add(name.text, flat->tensor.shape, {{flat, 0, count}});
  }
}

}  // namespace hydrofoil::checkpoint
