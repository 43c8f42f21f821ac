// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/train/snapshot.h"

#include <nlohmann/json.hpp>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "hydrofoil/core/error.h"

namespace hydrofoil::train {
namespace {

constexpr const char* kModelFile = "model.safetensors";
constexpr const char* kOptimizerFile = "optimizer.safetensors";
constexpr const char* kStateFile = "state.json";
constexpr std::string_view kMaster = "master";

using memory::Range;
using memory::SegmentLayout;

// What this rank holds of a segment, as it lies in memory.
struct Held {
  const SegmentLayout& layout;
  int rank;
  size_t begin;  // of the segment's elements: the first that is held
};

// The ranges of one tensor that lie in this rank's slice. At stage 0 every rank could write
// everything: the slices share the work.
checkpoint::TensorState tensor_state(const std::string& name, const Held& held, size_t tensor,
                                     DType dtype, std::span<const std::byte> bytes) {
  checkpoint::TensorState state{
      .name = name, .shape = held.layout.tensors()[tensor].shape, .dtype = dtype, .mine = {}};
  const size_t width = size_of(dtype);
  for (const auto& piece : held.layout.pieces(held.layout.slice(held.rank)))
    if (piece.tensor == tensor)
      state.mine.push_back(
          {piece.tensor_offset,
           bytes.subspan((piece.flat_offset - held.begin) * width, piece.count * width)});
  return state;
}

std::string state_json(Engine& engine, const Progress& progress) {
  nlohmann::ordered_json updates = nlohmann::ordered_json::object();
  engine.for_each_parameter([&](const memory::TensorInfo& info, Engine::Place place) {
    const int64_t count = engine.optimizer().updates(place.unit, place.segment, place.index);
    if (count != progress.step) updates[info.name] = count;
  });
  const auto& scaler = engine.loss_scaler().state();
  const nlohmann::ordered_json state{{"step", progress.step},
                                     {"attempts", progress.attempts},
                                     {"samples", progress.samples},
                                     {"seed", progress.seed},
                                     {"optimizer", engine.options().optimizer},
                                     {"updates_unlike_step", updates},
                                     {"loss_scaler",
                                      {{"scale", scaler.scale},
                                       {"iteration", scaler.iteration},
                                       {"last_overflow", scaler.last_overflow},
                                       {"hysteresis", scaler.hysteresis}}}};
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
    const auto& held_segment = cache.segments(unit)[segment];
    const Held held{held_segment.layout, engine.group().rank(),
                    cache.own_range(unit, segment).begin};
    model.tensors.push_back(
        tensor_state(info.name, held, index, held_segment.dtype, cache.own(unit, segment)));
    const auto add = [&](std::string_view kind, DType dtype, std::span<const std::byte> bytes) {
      if (bytes.empty()) return;
      optimizer.tensors.push_back(
          tensor_state(std::string(kind) + "." + info.name, held, index, dtype, bytes));
    };
    add(kMaster, DType::kF32, std::as_bytes(engine.optimizer().master(unit, segment)));
    for (size_t i = 0; i < names.size(); ++i) {
      const auto values = engine.optimizer().state(unit, segment, i);
      add(names[i], values.dtype, values.bytes());
    }
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
    const std::string master = std::string(kMaster) + "." + name;
    if (reader.has(kOptimizerFile, master))
      return reader.read_floats(kOptimizerFile, master, begin, out);
    reader.read_floats(kModelFile, name, begin, out);
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
      for (size_t i = 0; i < names.size(); ++i) {
        memory::Wide values(engine.optimizer()
                                .state(unit, segment, i)
                                .part(piece.flat_offset - range.begin, piece.count));
        reader.read_floats(kOptimizerFile, std::string(names[i]) + "." + info.name,
                           piece.tensor_offset, values.floats());
        values.store();
      }
    }
  });
  engine.set_steps(progress.step);
  if (const auto scaler = state.find("loss_scaler"); scaler != state.end())
    engine.loss_scaler().restore({.scale = scaler->at("scale"),
                                  .iteration = scaler->at("iteration"),
                                  .last_overflow = scaler->at("last_overflow"),
                                  .hysteresis = scaler->at("hysteresis")});
  return progress;
}

}  // namespace hydrofoil::train
