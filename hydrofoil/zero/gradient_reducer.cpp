// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/zero/gradient_reducer.h"

#include <algorithm>
#include <cstring>
#include <iterator>
#include <stdexcept>
#include <utility>

#include "hydrofoil/comm/flight_recorder.h"
#include "hydrofoil/core/error.h"
#include "hydrofoil/core/parallel.h"

namespace hydrofoil::zero {
namespace {

// Whole-unit buffers at a time, where gradients are partitioned: one being filled, one on the wire.
constexpr size_t kBuffers = 2;

void zero(const memory::Values& values) {
  std::memset(values.data, 0, values.bytes().size());
}

}  // namespace

using memory::Category;
using memory::UnitId;

GradientReducer::GradientReducer(const memory::ParameterCache& cache, ReducerOptions options,
                                 memory::Ledger& ledger)
    : cache_(cache),
      partition_(options.partition_gradients && cache.options().partition_updates),
      accumulate_(options.accumulate),
      ledger_(ledger),
      tier_(partition_ && options.files
                ? std::make_unique<memory::FileTier>(*options.files, ledger, Category::kGradients)
                : nullptr),
      walk_(options.files ? options.files->buffers : 1, ledger, Category::kGradients) {
  if (options.wire != accumulate_ && accumulate_ != DType::kF32)
    throw std::logic_error("GradientReducer: 16-bit gradients travel in their own type");
  units_.resize(cache.units());
  for (UnitId id = 0; id < cache.units(); ++id) {
    for (const auto& segment : cache.segments(id)) {
      const bool own = options.wire_as_parameters && accumulate_ == DType::kF32;
      units_[id].wire.push_back(own && segment.dtype != DType::kF32 ? segment.dtype : options.wire);
      units_[id].sparse.emplace_back();
      units_[id].slots.emplace_back(segment.layout.tensors().size());
    }
    lay_out(id, units_[id]);
    order_.insert(order_.begin(), id);
  }
}

GradientReducer::~GradientReducer() {
  if (keeping_.valid()) keeping_.wait();
  for (const auto& job : in_flight_)  // of a step that failed: they use buffers of this
    for (const auto& work : job.works) try {
        work.wait();
      } catch (const std::exception&) {  // of peers that gave up
      }
  open_ = false;
  let_go();
}

void GradientReducer::set_trainable(UnitId id, size_t segment, size_t tensor, bool trainable) {
  if (open_) throw std::logic_error("GradientReducer: trainable tensors change between steps only");
  Unit& unit = units_[id];
  if (std::exchange(unit.slots[segment][tensor].trainable, trainable) == trainable) return;
  unit.trainable += trainable ? 1 : -1;
  lay_out(id, unit);
}

void GradientReducer::hold_back(UnitId id) {
  if (open_) throw std::logic_error("GradientReducer: units are held back between steps only");
  units_[id].held_back = true;
  std::ranges::stable_partition(order_, [&](UnitId unit) { return !units_[unit].held_back; });
}

void GradientReducer::reduce_twice(UnitId id) {
  if (!partition_) return hold_back(id);
  if (open_) throw std::logic_error("GradientReducer: units get parts between steps only");
  units_[id].parts = 2;
  order_.insert(order_.begin(), id);
}

void GradientReducer::expect_sparse_rows(UnitId id, size_t segment, size_t tensor) {
  const auto& layout = cache_.segments(id)[segment].layout;
  const auto& shape = layout.tensors()[tensor].shape;
  units_[id].sparse[segment] = {.begin = layout.offset(tensor),
                                .rows = static_cast<size_t>(shape[0]),
                                .width = static_cast<size_t>(shape[1])};
}

// Places the active segments; a change of their set drops what the buffers held.
void GradientReducer::lay_out(UnitId id, Unit& unit) {
  std::vector<char> active;
  for (const auto& segment : unit.slots)
    active.push_back(std::ranges::any_of(segment, [](const Slot& slot) { return slot.trainable; }));
  if (active == unit.active) return;
  if (unit.full) ledger_.remove(Category::kGradients, full_bytes(unit));
  unit.full.reset();
  unit.active = std::move(active);
  unit.full_numel = unit.slice_bytes = 0;
  unit.narrows = false;
  unit.full_offset.clear();
  unit.slice_offset.clear();
  for (size_t s = 0; s < unit.slots.size(); ++s) {
    const auto& layout = cache_.segments(id)[s].layout;
    unit.full_offset.push_back(unit.full_numel);
    unit.slice_offset.push_back(unit.slice_bytes);
    if (!unit.active[s]) continue;
    unit.full_numel += layout.numel();
    unit.slice_bytes += layout.slice_numel() * size_of(unit.wire[s]);
    unit.narrows |= unit.wire[s] != accumulate_;
  }
  if (!partition_) return;
  unit.slices.resize(unit.active.size());
  for (size_t s = 0; s < unit.slices.size(); ++s)
    if (!unit.active[s] && !tier_) unit.slices[s] = {};  // room in a file stays
}

bool GradientReducer::trainable(UnitId unit, size_t segment, size_t tensor) const {
  return units_[unit].slots[segment][tensor].trainable;
}

void GradientReducer::begin_micro_batch(Sync sync, Consumer consumer) {
  if (open_) {
    await_kept();  // throws what ended it
    throw std::logic_error("GradientReducer: the last micro-batch was not finished");
  }
  open_ = true;
  sync_ = sync;
  consumer_ = std::move(consumer);
  if (sync == Sync::kLast) squares_ = {};
  next_ = 0;
  for (auto& unit : units_) {
    unit.issued = 0;
    start_part(unit);
  }
}

void GradientReducer::start_part(Unit& unit) {
  unit.missing = unit.trainable;
  for (auto& segment : unit.slots)
    for (auto& slot : segment) slot.landed_now = false;
}

GradientReducer::Landing GradientReducer::land(UnitId id, size_t segment, size_t tensor) {
  if (!open_) throw std::logic_error("GradientReducer: a gradient outside a micro-batch");
  Unit& unit = units_[id];
  if (unit.issued == unit.parts)
    throw Error(ExitCode::kError,
                "a second gradient arrived in one backward after its unit was reduced",
                cache_.segments(id)[segment].layout.tensors()[tensor].name,
                "declare the unit with several_uses: recomputed blocks share this weight");
  ensure_buffer(id, unit);
  const Slot& slot = unit.slots[segment][tensor];
  const auto& layout = cache_.segments(id)[segment].layout;
  return {full(id, segment).part(layout.offset(tensor), layout.tensors()[tensor].numel()),
          slot.landed_now || slot.landed_before};
}

memory::Values GradientReducer::full(UnitId id, size_t segment) const {
  const Unit& unit = units_[id];
  return {unit.full.get() + unit.full_offset[segment] * size_of(accumulate_),
          cache_.segments(id)[segment].layout.numel(), accumulate_};
}

void GradientReducer::landed(UnitId id, size_t segment, size_t tensor) {
  Unit& unit = units_[id];
  if (std::exchange(unit.slots[segment][tensor].landed_now, true)) return;
  if (--unit.missing == 0 && reduces_now()) issue_ready(false);
}

void GradientReducer::finish_micro_batch() {
  if (reduces_now()) {
    issue_ready(true);
    while (!in_flight_.empty()) complete_oldest();
    await_kept();
    walk_.let_go();
  } else if (sync_ == Sync::kLast) {
    for (UnitId id = 0; id < units_.size(); ++id) {
      Unit& unit = units_[id];
      if (unit.trainable == 0) continue;
      ensure_buffer(id, unit);
      zero_missing(id, unit);
    }
  }
  for (auto& unit : units_)
    for (auto& segment : unit.slots)
      for (auto& slot : segment)
        slot.landed_before =
            !(partition_ && reduces_now()) && (slot.landed_before || slot.landed_now);
  waiting_ = partition_ && !reduces_now();
  open_ = false;
}

void GradientReducer::reduce_rest() {
  if (partition_ && !waiting_) return;
  begin_micro_batch(Sync::kLast);
  finish_micro_batch();
}

void GradientReducer::clear() {
  for (auto& unit : units_) {
    unit.reduced_before = false;
    for (auto& segment : unit.slots)
      for (auto& slot : segment) slot.landed_before = false;
  }
}

void GradientReducer::let_go() {
  if (open_) throw std::logic_error("GradientReducer: buffers go between steps only");
  for (auto& unit : units_) {
    if (unit.full) ledger_.remove(Category::kGradients, full_bytes(unit));
    unit.full.reset();
    for (auto& slice : unit.slices)
      if (!slice.tier()) slice = {};
  }
  for (auto& [bytes, buffer] : idle_) ledger_.remove(Category::kGradients, bytes);
  idle_.clear();
}

void GradientReducer::ensure_buffer(UnitId id, Unit& unit) {
  while (unit.leaving)  // an earlier part
    if (!await_kept()) complete_oldest();
  if (unit.full) return;
  acquire(unit);
  zero_gaps(id, unit);
}

size_t GradientReducer::whole_units() const {
  return static_cast<size_t>(
      std::ranges::count_if(units_, [](const Unit& unit) { return unit.full != nullptr; }));
}

void GradientReducer::acquire(Unit& unit) {
  // Waiting helps only while a reduction is under way; a unit held for its turn is not.
  while (partition_ && whole_units() >= kBuffers) {
    if (await_kept()) continue;
    if (in_flight_.empty()) break;
    complete_oldest();
  }
  const auto fits = [&](const auto& buffer) { return buffer.first == full_bytes(unit); };
  if (const auto buffer = std::ranges::find_if(idle_, fits); buffer != idle_.end()) {
    unit.full = std::move(buffer->second);
    idle_.erase(buffer);
    return;
  }
  while (!idle_.empty() &&
         whole_units() + idle_.size() >= kBuffers) {  // of the wrong size: make room
    ledger_.remove(Category::kGradients, idle_.back().first);
    idle_.pop_back();
  }
  unit.full = cache_.group().alloc(full_bytes(unit));
  ledger_.add(Category::kGradients, full_bytes(unit));
}

void GradientReducer::release(Unit& unit) {
  unit.leaving = false;
  if (whole_units() + idle_.size() <= kBuffers)
    return static_cast<void>(idle_.emplace_back(full_bytes(unit), std::move(unit.full)));
  unit.full.reset();
  ledger_.remove(Category::kGradients, full_bytes(unit));
}

// Padding takes part in reductions and norms: it must be zero, whatever the buffer held before.
void GradientReducer::zero_gaps(UnitId id, Unit& unit) {
  for (size_t s = 0; s < unit.slots.size(); ++s) {
    if (!unit.active[s]) continue;
    const auto& layout = cache_.segments(id)[s].layout;
    const memory::Values segment = full(id, s);
    for (size_t t = 0; t < layout.tensors().size(); ++t) {
      const size_t end = layout.offset(t) + layout.tensors()[t].numel();
      const size_t next = t + 1 < layout.tensors().size() ? layout.offset(t + 1) : layout.numel();
      zero(segment.part(end, next - end));
    }
  }
}

// Tensors without a gradient in this step so far count as zeros.
void GradientReducer::zero_missing(UnitId id, Unit& unit) {
  for (size_t s = 0; s < unit.slots.size(); ++s)
    for (size_t t = 0; t < unit.slots[s].size(); ++t) {
      const Slot& slot = unit.slots[s][t];
      if (!unit.active[s] || slot.landed_now || slot.landed_before) continue;
      const auto& layout = cache_.segments(id)[s].layout;
      zero(full(id, s).part(layout.offset(t), layout.tensors()[t].numel()));
    }
}

void GradientReducer::issue_ready(bool everything) {
  while (next_ < order_.size()) {
    const UnitId id = order_[next_];
    Unit& unit = units_[id];
    if ((unit.missing > 0 || unit.held_back) && !everything) return;
    ++next_;
    ++unit.issued;
    if (unit.trainable == 0) continue;
    ensure_buffer(id, unit);
    if (unit.narrows) zero_gaps(id, unit);  // the last rounding left its numbers there
    zero_missing(id, unit);
    issue(id);
    while (consumer_ && in_flight_.size() > 1) complete_oldest();
    if (unit.issued == unit.parts) continue;
    start_part(unit);
    for (auto& segment : unit.slots)
      for (auto& slot : segment) slot.landed_before = false;
  }
}

void GradientReducer::issue(UnitId id) {
  Unit& unit = units_[id];
  give_slices(id, unit);
  const auto& group = cache_.group();
  const comm::Label label{comm::Purpose::kGradients, cache_.name(id)};
  InFlight job{.id = id, .works = {}, .incoming = {}, .last = unit.issued == unit.parts};
  unit.leaving = partition_;
  const bool alone = group.size() == 1;
  const bool passes = partition_ && (unit.reduced_before || unit.narrows || tier_);
  if (passes && !alone) job.incoming.resize(unit.slice_bytes);
  for (size_t s = 0; s < unit.slots.size(); ++s) {
    if (!unit.active[s]) continue;
    const auto& layout = cache_.segments(id)[s].layout;
    std::byte* segment = full(id, s).data;
    const DType wire = unit.wire[s];
    if (wire != accumulate_ && travels()) memory::narrow_in_place(segment, layout.numel(), wire);
    if (alone) continue;
    const comm::Buffer whole{segment, layout.numel(), wire};
    if (!cache_.options().partition_updates) {
      std::ranges::move(all_reduce(unit, s, whole, label), std::back_inserter(job.works));
      continue;
    }
    std::byte* out = segment + layout.slice(group.rank()).begin * size_of(wire);
    if (partition_)
      out = passes ? job.incoming.data() + unit.slice_offset[s] : unit.slices[s].values().data;
    const comm::Buffer slice{out, layout.slice_numel(), wire};
    job.works.push_back(
        group.reduce_scatter(whole, slice, comm::Reduce::kSum, label, comm::Issue::kAsync));
  }
  in_flight_.push_back(std::move(job));
  if (alone && partition_ && !consumer_) complete_oldest();  // there is nothing to wait for
}

std::vector<comm::Work> GradientReducer::all_reduce(const Unit& unit, size_t segment,
                                                    comm::Buffer whole, comm::Label label) const {
  const auto& group = cache_.group();
  if (unit.sparse[segment].rows > 0 && whole.type == DType::kF32)
    return sum_sparse_rows(group, {static_cast<float*>(whole.data), whole.count},
                           unit.sparse[segment], label);
  return {group.all_reduce(whole, comm::Reduce::kSum, label, comm::Issue::kAsync)};
}

void GradientReducer::complete_oldest() {
  InFlight job = std::move(in_flight_.front());
  in_flight_.pop_front();
  {
    const comm::Activity wait(cache_.group().flight_ring(), "wait for " + cache_.name(job.id));
    for (const auto& work : job.works) work.wait();
  }
  if (!partition_) {
    widen_own(job.id);
    return deliver(job.id);  // never in parts
  }
  if (!tier_) {
    keep(job);
    release(units_[job.id]);
    if (job.last) deliver(job.id);
    return;
  }
  await_kept();
  kept_ = job.id;
  kept_last_ = job.last;
  keeping_ = std::async(std::launch::async, [this, arrived = std::move(job)] {
    set_compute_threads(1);  // the others belong to backward
    keep_in_files(arrived);
  });
}

// False when nothing was on its way.
bool GradientReducer::await_kept() {
  if (!keeping_.valid()) return false;
  const comm::Activity wait(cache_.group().flight_ring(),
                            "write gradients of " + cache_.name(kept_));
  const int64_t begin = comm::monotonic_ns();
  keeping_.get();
  keeping_ = {};
  file_wait_seconds_ += 1e-9 * static_cast<double>(comm::monotonic_ns() - begin);
  release(units_[kept_]);
  if (kept_last_) deliver(kept_);
  return true;
}

}  // namespace hydrofoil::zero
