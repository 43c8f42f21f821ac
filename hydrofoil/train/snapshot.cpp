// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/train/snapshot.h"

#include <algorithm>
#include <functional>
#include <iterator>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "hydrofoil/checkpoint/folder.h"
#include "hydrofoil/core/error.h"
#include "hydrofoil/train/source.h"

namespace hydrofoil::train {
namespace {

constexpr const char* kStateFile = "state.json";
constexpr std::string_view kMaster = "master";

using checkpoint::kAverageKind;
using checkpoint::kModelFile;
using checkpoint::kOptimizerFile;
using memory::SegmentLayout;
using memory::UnitId;

// Elements [begin, begin + count), where they lie or to be fetched.
checkpoint::Fragment fragment(const memory::Column& column, size_t begin, size_t count) {
  if (!column.tier()) return {.bytes = column.values().part(begin, count).bytes()};
  const size_t width = size_of(column.dtype());
  return {.fetched_bytes = count * width,
          .fetch = [column, begin, width](size_t first, std::span<std::byte> out) {
            column.read(begin + first / width, out);
          }};
}

// What of one tensor lies in this rank's slice, from wherever `column` lies, which holds the rank's
// own range of the segment. At stage 0 every rank could write everything: the slices share the
// work.
checkpoint::TensorState tensor_state(std::string name, Engine& engine, Engine::Place place,
                                     const memory::Column& column) {
  const auto& [unit, segment, index] = place;
  const SegmentLayout& layout = engine.cache().segments(unit)[segment].layout;
  const size_t own_begin = engine.cache().own_range(unit, segment).begin;
  checkpoint::TensorState state{.name = std::move(name),
                                .shape = layout.tensors()[index].whole_shape(),
                                .dtype = column.dtype(),
                                .mine = {}};
  for (const auto& piece : layout.pieces(layout.slice(engine.group().rank()))) {
    if (piece.tensor != index) continue;
    state.mine.push_back(fragment(column, piece.flat_offset - own_begin, piece.count));
    state.mine.back().begin = piece.tensor_offset;
    state.mine.back().box = layout.tensors()[index].box;
  }
  return state;
}

// Parts of a tensor follow each other: they become one.
void add(std::vector<checkpoint::TensorState>& tensors, checkpoint::TensorState state) {
  if (tensors.empty() || tensors.back().name != state.name)
    return tensors.push_back(std::move(state));
  auto& mine = tensors.back().mine;
  std::ranges::move(state.mine, std::back_inserter(mine));
}

// Array by array, so that what lies in a file is read in the order it lies there.
checkpoint::FileState optimizer_state(Engine& engine) {
  checkpoint::FileState file{.name = kOptimizerFile, .tensors = {}};
  const auto& optimizer = engine.optimizer();
  const auto names = optimizer.rule().states;
  const auto add_all = [&](std::string_view kind, const auto& array_of) {
    engine.for_each_parameter([&](const memory::TensorInfo& info, Engine::Place place) {
      const auto kept = optimizer.kept(place.unit, place.segment);
      if (!kept) return;
      if (const std::optional<size_t> array = array_of(*kept))
        add(file.tensors, tensor_state(std::string(kind) + "." + info.name, engine, place,
                                       engine.optimizer().store().arrays(kept->id)[*array]));
    });
  };
  add_all(kMaster, [](const auto& kept) { return kept.master; });
  add_all(kAverageKind, [](const auto& kept) { return kept.average; });
  for (size_t i = 0; i < names.size(); ++i)
    add_all(names[i], [&](const auto&) { return std::optional(i); });
  return file;
}

// By name, of the whole copy of the model, where ranks hold parts of it.
using Counts = nlohmann::ordered_json;
Counts joined(const Engine& engine, Counts counts) {
  if (const auto& copy = engine.options().copy)
    for (const auto& text : copy.all_gather_text(counts.dump(), {comm::Purpose::kCheckpoint}))
      counts.update(Counts::parse(text));
  return counts;
}

std::string state_json(Engine& engine, const Progress& progress) {
  auto updates = Counts::object(), chosen_updates = updates;
  engine.for_each_parameter([&](const memory::TensorInfo& info, Engine::Place place) {
    const auto& [unit, segment, index] = place;
    const auto note = [&](Counts& counts, int64_t count) {
      if (count != progress.step) counts[info.name] = count;
    };
    note(updates, engine.optimizer().updates(unit, segment, index));
    if (engine.options().zenflow)
      note(chosen_updates, engine.optimizer().chosen_updates(unit, segment, index));
  });
  const auto& scaler = engine.loss_scaler().state();
  const nlohmann::ordered_json state{{"step", progress.step},
                                     {"attempts", progress.attempts},
                                     {"samples", progress.samples},
                                     {"seed", progress.seed},
                                     {"bytes_written", progress.bytes_written},
                                     {"optimizer", engine.optimizer().rule().name},
                                     {"updates_unlike_step", joined(engine, updates)},
                                     {"chosen_updates_unlike_step", joined(engine, chosen_updates)},
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
  engine.settle();
  checkpoint::Snapshot result{.step = progress.step, .files = {}, .texts = std::move(texts)};
  checkpoint::FileState model{.name = kModelFile, .tensors = {}};
  engine.for_each_parameter([&](const memory::TensorInfo& info, Engine::Place place) {
    add(model.tensors,
        tensor_state(info.name, engine, place, engine.cache().own(place.unit, place.segment)));
  });
  result.files.push_back(std::move(model));
  if (auto optimizer = optimizer_state(engine); !optimizer.tensors.empty())
    result.files.push_back(std::move(optimizer));
  result.texts[kStateFile] = state_json(engine, progress);
  return result;
}

void restore_parameters(Engine& engine, const checkpoint::Reader& reader) {
  engine.for_each_parameter([&](const memory::TensorInfo& info, Engine::Place) {
    reader.tensor(kModelFile, info.name, info.whole_shape());
  });
  engine.fill_parameters([&](const std::string& name, size_t begin, std::span<float> out) {
    const std::string master = std::string(kMaster) + "." + name;
    if (reader.has(kOptimizerFile, master))
      return reader.read_floats(kOptimizerFile, master, begin, out);
    reader.read_floats(kModelFile, name, begin, out);
  });
}

namespace {

// Where states come from, by "exp_avg.<name>".
struct StateSource {
  std::function<bool(const std::string& name)> has;
  std::function<void(const std::string& name, size_t begin, std::span<float> out)> read;
};

// The rule's states and the average of one chunk, tensor by tensor. Master copies have come with
// the parameters.
void restore_chunk(Engine& engine, const StateSource& source, UnitId unit, size_t segment,
                   const zero::StateStore::Chunk& chunk) {
  const SegmentLayout& layout = engine.cache().segments(unit)[segment].layout;
  const size_t first = engine.cache().own_range(unit, segment).begin + chunk.range.begin;
  const auto names = engine.optimizer().rule().states;
  for (const auto& piece : layout.pieces({first, first + chunk.range.size()})) {
    const auto take = [&](std::string_view kind, const memory::Values& array) {
      const std::string name = std::string(kind) + "." + layout.tensors()[piece.tensor].name;
      if (!source.has(name)) return;
      memory::Wide values(array.part(piece.flat_offset - first, piece.count));
      const auto& box = layout.tensors()[piece.tensor].box;
      const size_t begin = piece.tensor_offset;
      box.for_each_run(begin, begin + piece.count, [&](const Box::Run& run) {
        source.read(name, run.logical, values.floats().subspan(run.local - begin, run.count));
      });
      values.store();
    };
    for (size_t i = 0; i < names.size(); ++i) take(names[i], chunk.arrays[i]);
    if (const auto average = engine.optimizer().kept(unit, segment)->average)
      take(kAverageKind, chunk.arrays[*average]);
  }
}

// Whether any tensor had states.
bool restore_states(Engine& engine, const StateSource& source) {
  bool found = false;
  const auto names = engine.optimizer().rule().states;
  const std::string kind(names.empty() ? kAverageKind : names[0]);  // tells what was trained
  auto& cache = engine.cache();
  for (UnitId unit = 0; unit < cache.units(); ++unit)
    for (size_t s = 0; s < cache.segments(unit).size(); ++s) {
      const auto trained = [&](const memory::TensorInfo& tensor) {
        return source.has(kind + "." + tensor.name);
      };
      if (std::ranges::none_of(cache.segments(unit)[s].layout.tensors(), trained)) continue;
      found = true;
      const auto id = engine.optimizer().keep(unit, s).id;
      engine.optimizer().store().visit(
          {&id, 1}, zero::StateStore::Use::kUpdate,
          [&](const auto& chunk) { restore_chunk(engine, source, unit, s, chunk); });
    }
  return found;
}

}  // namespace

Progress restore(Engine& engine, const checkpoint::Reader& reader) {
  const auto state = nlohmann::json::parse(reader.text(kStateFile));
  const Progress progress{.step = state.at("step"),
                          .attempts = state.at("attempts"),
                          .samples = state.at("samples"),
                          .seed = state.at("seed"),
                          .bytes_written = state.value("bytes_written", uint64_t{0})};
  const std::string made_with = state.at("optimizer"), rule(engine.optimizer().rule().name);
  if (made_with != rule)
    throw Error(
        ExitCode::kCheckpoint,
        "the checkpoint was made with optimizer '" + made_with + "', the run uses '" + rule + "'",
        {}, "use the same optimizer, or start from the model only: model.path");
  restore_parameters(engine, reader);
  const auto& updates = state.at("updates_unlike_step");
  const auto chosen_updates = state.value("chosen_updates_unlike_step", nlohmann::json::object());
  engine.for_each_parameter([&](const memory::TensorInfo& info, Engine::Place place) {
    const auto& [unit, segment, index] = place;
    engine.optimizer().updates(unit, segment, index) = updates.value(info.name, progress.step);
    engine.optimizer().chosen_updates(unit, segment, index) =
        chosen_updates.value(info.name, progress.step);
  });
  restore_states(engine, {[&](const std::string& name) { return reader.has(kOptimizerFile, name); },
                          [&](const std::string& name, size_t begin, std::span<float> out) {
                            reader.read_floats(kOptimizerFile, name, begin, out);
                          }});
  engine.set_steps(progress.step);
  if (const auto scaler = state.find("loss_scaler"); scaler != state.end())
    engine.loss_scaler().restore({.scale = scaler->at("scale"),
                                  .iteration = scaler->at("iteration"),
                                  .last_overflow = scaler->at("last_overflow"),
                                  .hysteresis = scaler->at("hysteresis")});
  return progress;
}

Progress restore(Engine& engine, const checkpoint::DeepSpeedWeights& weights, uint64_t seed) {
  const auto& done = weights.progress();
  const Progress progress{.step = done.steps - done.skipped,
                          .attempts = done.steps,
                          .samples = done.samples,
                          .seed = seed};
  load_weights(engine, weights);
  const StateSource source{[&](const std::string& name) { return weights.has(name); },
                           [&](const std::string& name, size_t begin, std::span<float> out) {
                             weights.read(name, begin, out);
                           }};
  const auto names = engine.optimizer().rule().states;
  if (!restore_states(engine, source) && !names.empty())
    throw Error(ExitCode::kCheckpoint,
                "holds no '" + std::string(names[0]) + "', which optimizer '" +
                    std::string(engine.optimizer().rule().name) + "' goes on with",
                weights.folder().string(), "start from the model only: model.path");
  engine.for_each_parameter([&](const memory::TensorInfo& info, Engine::Place place) {
    const bool updated = names.empty() || source.has(std::string(names[0]) + "." + info.name);
    engine.optimizer().updates(place.unit, place.segment, place.index) =
        updated ? progress.step : 0;
  });
  engine.set_steps(progress.step);
  return progress;
}

}  // namespace hydrofoil::train
