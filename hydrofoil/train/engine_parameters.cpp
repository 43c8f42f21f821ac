// SPDX-License-Identifier: Apache-2.0
// The engine between steps: parameters get their values, are edited, leave memory for a while.
#include <ATen/core/Tensor.h>
#include <torch/csrc/autograd/grad_mode.h>

#include <cstring>
#include <unordered_map>
#include <utility>

#include "hydrofoil/core/error.h"
#include "hydrofoil/kernels/convert.h"
#include "hydrofoil/train/engine.h"
#include "hydrofoil/zero/gradient_hooks.h"

namespace hydrofoil::train {
namespace {

using memory::Segment;
using memory::SegmentLayout;
using memory::UnitId;

DType dtype_of(const at::Tensor& tensor, const std::string& name) {
  switch (tensor.scalar_type()) {
    case at::kFloat:
      return DType::kF32;
    case at::kBFloat16:
      return DType::kBF16;
    case at::kHalf:
      return DType::kF16;
    default:
      throw Error(
          ExitCode::kConfig,
          "parameters must be fp32, bf16 or fp16, not " + std::string(tensor.dtype().name()), name);
  }
}

}  // namespace

std::unique_ptr<Engine> Engine::wrap(comm::Communicator group,
                                     const std::vector<UnitParameters>& units,
                                     EngineOptions options) {
  std::vector<UnitDeclaration> declarations;
  std::vector<std::vector<at::Tensor>> tensors;
  std::unordered_map<const c10::TensorImpl*, size_t> owners;  // into declarations
  for (const auto& unit : units) {
    UnitDeclaration declaration{
        .name = unit.name, .parameters = {}, .several_uses = unit.several_uses};
    tensors.emplace_back();
    for (const auto& [name, tensor, parameter_group] : unit.parameters) {
      const auto [owner, first] =
          owners.try_emplace(tensor.unsafeGetTensorImpl(), declarations.size());
      if (!first && owner->second < declarations.size())
        declarations[owner->second].several_uses = true;
      if (!first) continue;
      declaration.parameters.push_back({.name = name,
                                        .shape = tensor.sizes().vec(),
                                        .dtype = dtype_of(tensor, name),
                                        .trainable = tensor.requires_grad(),
                                        .group = parameter_group});
      tensors.back().push_back(tensor);
    }
    if (!tensors.back().empty()) {
      declarations.push_back(std::move(declaration));
    } else {
      tensors.pop_back();
    }
  }
  auto engine = std::make_unique<Engine>(std::move(group), declarations, std::move(options));
  size_t next = 0;
  for (UnitId unit = 0; unit < tensors.size(); ++unit) {
    std::byte* base = engine->cache_->begin_edit(unit);
    for (size_t i = 0; i < tensors[unit].size(); ++i) {
      auto& [name, slot] = engine->parameters_[next + i];
      const Segment& segment = engine->cache_->segments(unit)[slot.place.segment];
      const size_t offset =
          engine->cache_->segment_offset_bytes(unit, slot.place.segment) +
          segment.layout.offset(slot.place.index) * size_of(segment.resident_dtype());
      const at::Tensor& existing = tensors[unit][i];
      std::memcpy(base + offset, existing.contiguous().const_data_ptr(), existing.nbytes());
      engine->adapter_->adopt(existing, unit, slot.place.segment, slot.place.index);
      zero::land_gradients(existing, *engine->reducer_, unit, slot.place.segment, slot.place.index);
      slot.tensor = existing;
    }
    engine->cache_->finish_edit(unit, 0);
    next += tensors[unit].size();
  }
  return engine;
}

void Engine::fill_parameters(const Filler& fill) {
  settle();
  follow_trainable();
  cache_->begin_update();
  for (UnitId unit = 0; unit < cache_->units(); ++unit) {
    cache_->await_readers(unit);
    for (size_t s = 0; s < cache_->segments(unit).size(); ++s) {
      fill_segment(unit, s, fill);
      optimizer_->start_average(unit, s);
    }
    cache_->publish(unit);
  }
  cache_->end_update();
}

void Engine::fill_segment(UnitId unit, size_t segment, const Filler& fill) {
  using memory::ColumnWalk;
  const SegmentLayout& layout = cache_->segments(unit)[segment].layout;
  const memory::Column& own = cache_->own(unit, segment);
  const size_t own_begin = cache_->own_range(unit, segment).begin;
  ColumnWalk::Table table{{&own, ColumnWalk::Use::kUpdate}};
  if (own.dtype() != DType::kF32 && reducer_->active(unit, segment)) {
    const auto kept = optimizer_->keep(unit, segment);
    if (kept.master)
      table.push_back(
          {&optimizer_->store().arrays(kept.id)[*kept.master], ColumnWalk::Use::kUpdate});
  }
  const auto fill_chunk = [&](const ColumnWalk::Chunk& chunk) {
    const memory::Values& resting = chunk.columns[0];
    std::vector<float> passing(resting.is_wide() || table.size() > 1 ? 0 : resting.count);
    const std::span<float> values = resting.is_wide()  ? resting.floats()
                                    : table.size() > 1 ? chunk.columns[1].floats()
                                                       : std::span(passing);
    const size_t first = own_begin + chunk.range.begin;
    for (const auto& piece : layout.pieces({first, first + values.size()})) {
      const auto& [name, shape, box] = layout.tensors()[piece.tensor];
      const auto part = values.subspan(piece.flat_offset - first, piece.count);
      box.for_each_run(piece.tensor_offset, piece.tensor_offset + piece.count,
                       [&, &name = name](const Box::Run& run) {
                         fill(name, run.logical,
                              part.subspan(run.local - piece.tensor_offset, run.count));
                       });
    }
    if (!resting.is_wide())
      kernels::narrow(values, {reinterpret_cast<uint16_t*>(resting.data), resting.count},
                      resting.dtype);
  };
  optimizer_->store().visit({&table, 1}, fill_chunk);
}

void Engine::offload_states(const memory::FileTierOptions& to, OffloadedStates which) {
  if (started_ || aside_)
    throw Error(ExitCode::kError,
                started_ ? "offload_states was called in the middle of a step"
                         : "offload_states was called twice",
                {}, started_ ? "call it after step()" : "call reload_states() in between");
  settle();
  aside_ = std::make_unique<memory::FileTier>(to, ledger_, memory::Category::kOptimizer);
  if (which.optimizer) optimizer_->move_states(aside_.get());
  if (which.masters) optimizer_->move_masters(aside_.get());
  if (which.parameters) cache_->set_aside(*aside_);
  if (which.gradients) reducer_->let_go();
}

void Engine::reload_states() {
  optimizer_->move_states(nullptr);
  optimizer_->move_masters(nullptr);
  cache_->bring_back();
  aside_.reset();
}

void Engine::edit(const std::string& unit, int source, const std::function<void()>& edit) {
  settle();
  for (UnitId id = 0; id < cache_->units(); ++id) {
    if (cache_->name(id) != unit) continue;
    cache_->begin_edit(id);
    {
      at::NoGradGuard no_grad;
      edit();
    }
    cache_->finish_edit(id, source);
    return optimizer_->follow_edit(id);
  }
  throw Error(ExitCode::kError, "no unit named '" + unit + "'");
}

}  // namespace hydrofoil::train
