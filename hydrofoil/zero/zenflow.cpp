// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/zero/zenflow.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "hydrofoil/zero/chosen_columns.h"

namespace hydrofoil::zero {

using memory::Range;
using memory::UnitId;

namespace {

// Copies of what is chosen of a segment.
struct Copies {
  std::vector<ChosenPiece> pieces;
  std::vector<float> parameters, gradients;
  std::vector<std::vector<float>> states;
};

// Adds the absolute values to their columns; returns their sum.
double weigh(std::span<double> columns, size_t first, std::span<const float> gradient) {
  double all = 0;
  for (size_t i = 0, column = first % columns.size(); i < gradient.size(); column = 0) {
    const size_t end = std::min(columns.size(), column + gradient.size() - i);
    for (; column < end; ++column, ++i) {
      const double weight = std::abs(static_cast<double>(gradient[i]));
      columns[column] += weight;
      all += weight;
    }
  }
  return all;
}

// The chosen elements of a range that rests in any type, runs of them: widened, beside their first
// one's place among the copies.
template <class Visit>
void visit_chosen(const Copies& copies, Range flat, const Values& elements, bool store,
                  const Visit& visit) {
  if (elements.empty()) return;
  memory::for_each_chunk(elements.count, elements.is_wide(), [&](size_t begin, size_t count) {
    memory::Wide wide(elements.part(begin, count));
    const Range range{flat.begin + begin, flat.begin + begin + count};
    for (const auto& piece : copies.pieces)
      piece.visit(range, [&](size_t at, size_t chosen, size_t n) {
        visit(wide.floats().subspan(at - range.begin, n), chosen);
      });
    if (store) wide.store();
  });
}

void put_back(const Copies& copies, Range flat, const Values& to, std::span<const float> copied) {
  visit_chosen(copies, flat, to, true, [&](std::span<float> elements, size_t chosen) {
    std::ranges::copy(copied.subspan(chosen, elements.size()), elements.begin());
  });
}

void copy_out(const Copies& copies, Range flat, const Values& from, std::span<float> copied) {
  visit_chosen(copies, flat, from, false, [&](std::span<float> elements, size_t chosen) {
    std::ranges::copy(elements, copied.begin() + static_cast<ptrdiff_t>(chosen));
  });
}

}  // namespace

struct Zenflow::Choice {
  explicit Choice(memory::Ledger& l) : ledger(l) {}
  ~Choice() { ledger.remove(memory::Category::kOptimizer, bytes); }
  Choice(const Choice&) = delete;
  Choice& operator=(const Choice&) = delete;

  void add(UnitId unit, std::vector<ChosenPiece> pieces, size_t states) {
    const size_t count = pieces.empty() ? 0 : pieces.back().begin + pieces.back().count;
    constexpr size_t kBlock = 256;  // of the norm
    const std::vector<float> zeros((count + kBlock - 1) / kBlock * kBlock);
    segments.resize(unit + 1);
    segments[unit].push_back({.pieces = std::move(pieces),
                              .parameters = zeros,
                              .gradients = zeros,
                              .states = std::vector(states, zeros)});
    bytes += (2 + states) * zeros.size() * sizeof(float);
    ledger.add(memory::Category::kOptimizer, (2 + states) * zeros.size() * sizeof(float));
  }

  memory::Ledger& ledger;
  size_t bytes = 0;
  std::vector<std::vector<Copies>> segments;  // by unit
};

Zenflow::Zenflow(const memory::ParameterCache& cache, size_t states, ZenflowOptions options,
                 memory::Ledger& ledger)
    : cache_(cache), states_(states), options_(options), ledger_(ledger) {
  weights_.resize(cache.units());
  for (UnitId unit = 0; unit < cache.units(); ++unit)
    for (const auto& segment : cache.segments(unit)) {
      auto& tensors = weights_[unit].emplace_back();
      for (const auto& info : segment.layout.tensors())
        tensors.push_back({.columns = std::vector<double>(columns_of(info))});
    }
}

Zenflow::~Zenflow() = default;

std::vector<Zenflow::Weights*> Zenflow::matrices() {
  std::vector<Weights*> all;
  for (auto& unit : weights_)
    for (auto& segment : unit)
      for (auto& tensor : segment)
        if (!tensor.columns.empty()) all.push_back(&tensor);
  return all;
}

void Zenflow::take(UnitId unit, size_t segment, const Values& fresh) {
  const size_t own = cache_.own_range(unit, segment).begin;
  const auto& layout = cache_.segments(unit)[segment].layout;
  auto& weights = weights_[unit][segment];
  memory::for_each_chunk(fresh.count, fresh.is_wide(), [&](size_t begin, size_t count) {
    memory::Wide wide(fresh.part(begin, count));
    const auto gradient = wide.floats();
    const Range flat{own + begin, own + begin + count};
    for (const auto& piece : layout.pieces(flat))
      if (auto& of = weights[piece.tensor]; !of.columns.empty())
        of.all += weigh(of.columns, piece.flat_offset - layout.offset(piece.tensor),
                        gradient.subspan(piece.flat_offset - flat.begin, piece.count));
    if (!now_) return;
    Copies& copies = now_->segments[unit][segment];
    for (const auto& piece : copies.pieces) {
      double taken = 0;
      piece.visit(flat, [&](size_t at, size_t chosen, size_t n) {
        for (size_t i = 0; i < n; ++i) {
          const float value = std::exchange(gradient[at - flat.begin + i], 0.0F);
          copies.gradients[chosen + i] += value;
          taken += std::abs(static_cast<double>(value));
        }
      });
      weights[piece.tensor].taken += taken;
    }
    wide.store();
  });
}

void Zenflow::add_squares(kernels::SumOfSquares& sum) const {
  if (!now_) return;
  for (const auto& unit : now_->segments)
    for (const Copies& copies : unit) sum.add(copies.gradients);
}

// The spec counts a matrix each time its rest has gathered enough; here it counts once.
bool Zenflow::rest_weighs_enough() {
  const auto all = matrices();
  std::vector<double> sums;
  for (const Weights* matrix : all) sums.insert(sums.end(), {matrix->taken, matrix->all});
  cache_.group().all_reduce({sums.data(), sums.size(), DType::kF64}, comm::Reduce::kSum,
                            {comm::Purpose::kControl, "weights of gradients"});
  double enough = 0;
  for (size_t i = 0; i < all.size(); ++i) {
    const double chosen = sums[2 * i] / options_.share, rest = sums[2 * i + 1] - sums[2 * i];
    Weights& matrix = *all[i];
    matrix.chosen_mean += (chosen - matrix.chosen_mean) / static_cast<double>(since_rest_);
    matrix.rest += options_.share < 1 ? rest / (1 - options_.share) : 0;
    enough += matrix.rest >= matrix.chosen_mean ? 1 : 0;
  }
  return enough >= options_.rest_share * static_cast<double>(all.size());
}

bool Zenflow::close_step(double divisor) {
  divisor_ += divisor;
  ++steps_, ++since_rest_, ++since_choice_;
  bool due = !now_;  // all is the rest
  if (now_ && options_.rest_interval > 0) due = since_rest_ >= options_.rest_interval;
  if (now_ && options_.rest_interval == 0) due = rest_weighs_enough();
  for (Weights* matrix : matrices()) matrix->taken = matrix->all = 0;
  return due;
}

bool Zenflow::choose_anew() {
  const bool wanted =
      now_ ? options_.choice_interval > 0 && since_choice_ >= options_.choice_interval
           : steps_ >= options_.warm_up;
  if (!wanted) return false;
  std::vector<double> weights;
  for (Weights* matrix : matrices()) {
    weights.insert(weights.end(), matrix->columns.begin(), matrix->columns.end());
    std::ranges::fill(matrix->columns, 0);
  }
  cache_.group().all_reduce({weights.data(), weights.size(), DType::kF64}, comm::Reduce::kSum,
                            {comm::Purpose::kControl, "weights of columns"});
  next_ = std::make_unique<Choice>(ledger_);
  std::span<const double> left = weights;
  for (UnitId unit = 0; unit < cache_.units(); ++unit)
    for (size_t s = 0; s < cache_.segments(unit).size(); ++s) {
      const auto& layout = cache_.segments(unit)[s].layout;
      std::vector<std::vector<uint32_t>> picked;  // by tensor
      for (const auto& info : layout.tensors()) {
        const size_t columns = columns_of(info);
        picked.push_back(columns > 0 ? heaviest(left.first(columns), options_.share)
                                     : std::vector<uint32_t>{});
        left = left.subspan(columns);
      }
      next_->add(unit, chosen_pieces(layout, cache_.own_range(unit, s), picked), states_);
    }
  since_choice_ = 0;
  return true;
}

void Zenflow::rest_is_done() {
  divisor_ = 0;
  since_rest_ = 0;
  for (Weights* matrix : matrices()) matrix->chosen_mean = matrix->rest = 0;
}

void Zenflow::forget() {
  rest_is_done();
  now_.reset();
  steps_ = since_choice_ = 0;
  for (Weights* matrix : matrices()) std::ranges::fill(matrix->columns, 0);
}

std::vector<Zenflow::Chosen> Zenflow::chosen(UnitId unit, size_t segment) const {
  std::vector<Chosen> result;
  if (!now_) return result;
  Copies& copies = now_->segments[unit][segment];
  for (const auto& piece : copies.pieces) {
    const auto of = [&](std::vector<float>& all) {
      return values_of(std::span(all).subspan(piece.begin, piece.count));
    };
    optim::UpdateArrays arrays{.param = of(copies.parameters), .grad = of(copies.gradients)};
    for (size_t i = 0; i < states_; ++i) arrays.states[i] = of(copies.states[i]);
    result.push_back({piece.tensor, arrays});
  }
  return result;
}

void Zenflow::clear_gradients() {
  if (!now_) return;
  for (auto& unit : now_->segments)
    for (Copies& copies : unit) std::ranges::fill(copies.gradients, 0.0F);
}

void Zenflow::put(UnitId unit, size_t segment, Range flat, const optim::UpdateArrays& to) const {
  if (!now_) return;
  const Copies& copies = now_->segments[unit][segment];
  put_back(copies, flat, to.param, copies.parameters);
  put_back(copies, flat, to.low, copies.parameters);
  for (size_t i = 0; i < states_; ++i) put_back(copies, flat, to.states[i], copies.states[i]);
}

void Zenflow::put_parameters(UnitId unit, size_t segment, Range flat, const Values& to) const {
  if (!now_) return;
  const Copies& copies = now_->segments[unit][segment];
  put_back(copies, flat, to, copies.parameters);
}

void Zenflow::fetch(UnitId unit, size_t segment, Range flat,
                    const optim::UpdateArrays& from) const {
  if (!next_) return;
  Copies& copies = next_->segments[unit][segment];
  copy_out(copies, flat, from.param, copies.parameters);
  for (size_t i = 0; i < states_; ++i) copy_out(copies, flat, from.states[i], copies.states[i]);
}

void Zenflow::adopt() {
  if (next_) now_ = std::move(next_);
}

}  // namespace hydrofoil::zero
