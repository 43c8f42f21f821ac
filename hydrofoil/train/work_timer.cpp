// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/train/work_timer.h"

#include <algorithm>
#include <memory>

namespace hydrofoil::train {
namespace {

thread_local WorkTimer* timer_of_this_thread = nullptr;

std::unique_ptr<at::ObserverContext> on_begin(const at::RecordFunction& function) {
  timer_of_this_thread->begin(function);
  return nullptr;
}
void on_end(const at::RecordFunction&, at::ObserverContext*) {
  timer_of_this_thread->end();
}

bool holds_one_of(std::string_view name, std::initializer_list<std::string_view> parts) {
  return std::any_of(parts.begin(), parts.end(),
                     [&](std::string_view part) { return name.find(part) != name.npos; });
}

}  // namespace

std::string_view name_of(Work work) {
  switch (work) {
    case Work::kForwardProducts:
      return "forward products";
    case Work::kBackwardProducts:
      return "backward products";
    case Work::kAttention:
      return "attention";
    case Work::kPointwise:
      return "norms, activations";
    case Work::kLoss:
      return "head and loss";
    case Work::kGradients:
      return "gradients";
    case Work::kUpdate:
      return "update";
    case Work::kOther:
      return "other";
  }
  throw std::logic_error("unknown work");
}

Work work_of(std::string_view name, Work inside, bool backward) {
  // Products make their input again in backward (models/made.h).
  if (holds_one_of(name, {"RmsNorm", "LayerNorm", "RowNorm", "Activat", "Gated"}))
    return Work::kPointwise;
  if (inside != Work::kOther) return inside;
  if (holds_one_of(name, {"linear_cross_entropy"})) return Work::kLoss;
  if (holds_one_of(name, {"AccumulateGrad"})) return Work::kGradients;
  if (holds_one_of(name, {"attention", "FlashAttention"})) return Work::kAttention;
  if (holds_one_of(name, {"aten::mm", "aten::addmm", "linear_pointwise", "LinearFunction"}))
    return backward ? Work::kBackwardProducts : Work::kForwardProducts;
  if (holds_one_of(name, {"norm", "gelu", "silu", "relu", "Rotate"})) return Work::kPointwise;
  return Work::kOther;
}

WorkTimer::WorkTimer() {
  timer_of_this_thread = this;
  handle_ = at::addThreadLocalCallback(
      at::RecordFunctionCallback(on_begin, on_end)
          .scopes({at::RecordScope::FUNCTION, at::RecordScope::BACKWARD_FUNCTION,
                   at::RecordScope::USER_SCOPE}));
}

WorkTimer::~WorkTimer() {
  at::removeCallback(handle_);
  timer_of_this_thread = nullptr;
}

void WorkTimer::begin(const at::RecordFunction& function) {
  const Running* caller = running_.empty() ? nullptr : &running_.back();
  // The engine of autograd wraps every node, hooks and all, in a scope of its own.
  const bool backward = (caller && caller->backward) ||
                        function.scope() == at::RecordScope::BACKWARD_FUNCTION ||
                        std::string_view(function.name()).starts_with("autograd::engine");
  running_.push_back(
      {.work = work_of(function.name(), caller ? caller->work : Work::kOther, backward),
       .backward = backward,
       .since = Clock::now()});
}

void WorkTimer::end() {
  const Running ended = running_.back();
  running_.pop_back();
  const double taken = std::chrono::duration<double>(Clock::now() - ended.since).count();
  seconds_[static_cast<size_t>(ended.work)] += taken - ended.inside;
  if (!running_.empty()) running_.back().inside += taken;
}

}  // namespace hydrofoil::train
