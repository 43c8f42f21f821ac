// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/train/snapshot.h"

#include <nlohmann/json.hpp>
#include <span>
#include <utility>

#include "hydrofoil/core/error.h"

namespace hydrofoil::train {
namespace {

constexpr const char* kModelFile = "model.safetensors";
constexpr const char* kOptimizerFile = "optimizer.safetensors";
constexpr const char* kStateFile = "state.json";

using memory::Range;
using memory::SegmentLayout;

// The ranges of one tensor that lie in this rank's slice, as bytes of `own`, which starts at
// `own_begin` of the segment. At stage 0 every rank could write everything: the slices share the
// work.
checkpoint::TensorState tensor_state(const std::string& name, const SegmentLayout& layout,
                                     size_t tensor, int rank, std::span<const float> own,
                                     size_t own_begin) {
  checkpoint::TensorState state{
      .name = name, .shape = layout.tensors()[tensor].shape, .dtype = DType::kF32, .mine = {}};
  for (const auto& piece : layout.pieces(layout.slice(rank)))
    if (piece.tensor == tensor)
      state.mine.push_back({piece.tensor_offset, std::as_bytes(own.subspan(
                                                     piece.flat_offset - own_begin, piece.count))});
  return state;
}

std::string state_json(Engine& engine, const Progress& progress) {
  nlohmann::ordered_json updates = nlohmann::ordered_json::object();
  engine.for_each_parameter([&](const memory::TensorInfo& info, Engine::Place place) {
    const int64_t count = engine.optimizer().updates(place.unit, place.segment, place.index);
    if (count != progress.step) updates[info.name] = count;
  });
  const nlohmann::ordered_json state{{"step", progress.step},
                                     {"attempts", progress.attempts},
                                     {"samples", progress.samples},
                                     {"seed", progress.seed},
                                     {"optimizer", engine.options().optimizer},
                                     {"updates_unlike_step", updates}};
  return state.dump(2) + "\n";
}

}  // namespace

checkpoint::Snapshot snapshot(Engine& engine, const Progress& progress,
                              std::map<std::string, std::string> texts) {
  checkpoint::Snapshot result{.step = progress.step, .files = {}, .texts = std::move(texts)};
  checkpoint::FileState model{.name = kModelFile, .tensors = {}},
      optimizer{.name = kOptimizerFile, .tensors = {}};
  auto& cache = engine.cache();
  const auto names = engine.optimizer().rule().state_names();
  engine.for_each_parameter([&](const memory::TensorInfo& info, Engine::Place place) {
    const auto& [unit, segment, index] = place;
    const auto& layout = cache.segments(unit)[segment].layout;
    const size_t begin = cache.own_range(unit, segment).begin;
    const auto bytes = cache.own(unit, segment);
    const std::span<const float> own(reinterpret_cast<const float*>(bytes.data()),
                                     bytes.size() / sizeof(float));
    const int rank = engine.group().rank();
    model.tensors.push_back(tensor_state(info.name, layout, index, rank, own, begin));
    for (size_t i = 0; i < names.size(); ++i)
      if (const auto state = engine.optimizer().state(unit, segment, i); !state.empty())
        optimizer.tensors.push_back(tensor_state(std::string(names[i]) + "." + info.name, layout,
                                                 index, rank, state, begin));
  });
  result.files.push_back(std::move(model));
  if (!optimizer.tensors.empty()) result.files.push_back(std::move(optimizer));
  result.texts[kStateFile] = state_json(engine, progress);
  return result;
}

void restore_parameters(Engine& engine, const checkpoint::Reader& reader) {
  engine.for_each_parameter([&](const memory::TensorInfo& info, Engine::Place) {
    reader.tensor(kModelFile, info.name, info.shape);
  });
  engine.fill_parameters([&](const std::string& name, size_t begin, std::span<float> out) {
    reader.read(kModelFile, name, begin, std::as_writable_bytes(out));
  });
}

Progress restore(Engine& engine, const checkpoint::Reader& reader) {
  const auto state = nlohmann::json::parse(reader.text(kStateFile));
  const Progress progress{.step = state.at("step"),
                          .attempts = state.at("attempts"),
                          .samples = state.at("samples"),
                          .seed = state.at("seed")};
  if (const std::string made_with = state.at("optimizer"); made_with != engine.options().optimizer)
    throw Error(ExitCode::kCheckpoint,
                "the checkpoint was made with optimizer '" + made_with + "', the run uses '" +
                    engine.options().optimizer + "'",
                {}, "use the same optimizer, or start from the model only: model.path");
  restore_parameters(engine, reader);
  const auto& updates = state.at("updates_unlike_step");
  auto& cache = engine.cache();
  const auto names = engine.optimizer().rule().state_names();
  engine.for_each_parameter([&](const memory::TensorInfo& info, Engine::Place place) {
    const auto& [unit, segment, index] = place;
    engine.optimizer().updates(unit, segment, index) = updates.value(info.name, progress.step);
    if (names.empty() || !reader.has(kOptimizerFile, std::string(names[0]) + "." + info.name))
      return;
    engine.optimizer().ensure_state(unit, segment);
    const auto& layout = cache.segments(unit)[segment].layout;
    const Range range = cache.own_range(unit, segment);
    for (const auto& piece : layout.pieces(range)) {
      if (piece.tensor != index) continue;
      for (size_t i = 0; i < names.size(); ++i)
        reader.read(
            kOptimizerFile, std::string(names[i]) + "." + info.name, piece.tensor_offset,
            std::as_writable_bytes(engine.optimizer()
                                       .state(unit, segment, i)
                                       .subspan(piece.flat_offset - range.begin, piece.count)));
    }
  });
  engine.set_steps(progress.step);
  return progress;
}

}  // namespace hydrofoil::train
