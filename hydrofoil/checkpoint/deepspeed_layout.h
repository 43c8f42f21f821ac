// SPDX-License-Identifier: Apache-2.0
// Which elements of which file make up each tensor of a DeepSpeed checkpoint.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "hydrofoil/checkpoint/deepspeed.h"
#include "hydrofoil/io/pickle.h"

namespace hydrofoil::checkpoint {

constexpr const char* kWholeModelName = "mp_rank_00_model_states.pt";
std::string model_slice_name(int64_t rank);

class DeepSpeedLayout {
 public:
  explicit DeepSpeedLayout(DeepSpeedWeights& weights);
  void build();

 private:
  using Value = io::PickleValue;
  using Flat = DeepSpeedWeights::Flat;
  using Piece = DeepSpeedWeights::Piece;
  using Shapes = std::vector<std::pair<std::string, std::vector<int64_t>>>;

  // One of the checkpoint's files, described.
  struct StateFile {
    std::string where;
    const io::MappedFile* map;
    io::TorchArchive archive;

    [[noreturn]] void refuse(const std::string& message) const;
    const Value* find(const Value& dict, std::string_view key) const;  // null: absent or None
    const Value& at(const Value& dict, std::string_view key) const;
    int64_t integer(const Value& value) const;  // or the largest of a list, or of an enumeration
    Shapes shapes(const Value& dict) const;
  };
  // Flat tensors in a row, as if they were one.
  struct Chain {
    std::vector<const Flat*> flats;
    uint64_t elements = 0;
    void add(const Flat* flat);
    void cut(uint64_t begin, uint64_t count, std::vector<Piece>& pieces) const;
  };
  // What all ranks keep of a kind ("" for the weights, "exp_avg"): by rank and parameter group.
  using Slices = std::vector<std::vector<const Flat*>>;

  [[noreturn]] void refuse(const std::string& message, const std::string& hint = {}) const;
  StateFile open(const std::string& name);
  void open_optimizers();
  void open_models();
  const Flat* keep(const StateFile& file, const std::string& name, const Value& value);
  Slices weight_slices();
  Slices moment_slices(const std::string& kind);
  void add_groups(const std::string& prefix, const Slices& slices);  // stages 1 and 2
  void add_sliced(const std::string& prefix, const Slices& slices);  // stage 3
  void add_frozen();
  void add_aliases();
  void add_module();
  void add(const std::string& name, std::vector<int64_t> shape, std::vector<Piece> pieces);
  std::vector<int64_t> paddings(size_t group, size_t parameters) const;

  DeepSpeedWeights& weights_;
  std::set<std::string> names_;  // of files that are not opened yet
  std::vector<StateFile> optimizers_, models_;
  std::vector<Shapes> groups_;
  int64_t stage_ = 0;
};

}  // namespace hydrofoil::checkpoint
