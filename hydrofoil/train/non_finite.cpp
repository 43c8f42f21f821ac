// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/train/non_finite.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/isfinite.h>
#include <ATen/ops/isnan.h>

#include <utility>

namespace hydrofoil::train {
namespace {

constexpr size_t kMostTensors = 8;  // named in one finding

}  // namespace

std::string NonFinite::text() const {
  std::string what = nan > 0 ? std::to_string(nan) + " NaN" : "";
  if (infinite > 0) what += (nan > 0 ? " and " : "") + std::to_string(infinite) + " infinite";
  if (elements == 1) return tensor + " is " + (nan > 0 ? "NaN" : "infinite");
  return tensor + " has " + what + " among " + std::to_string(elements) +
         " elements, the first at " + std::to_string(first);
}

std::optional<NonFinite> non_finite(const at::Tensor& values, std::string name) {
  const at::NoGradGuard no_grad;
  const auto finite = at::isfinite(values).flatten();
  const int64_t good = finite.sum().item<int64_t>();
  if (good == finite.numel()) return std::nullopt;
  const int64_t nan = at::isnan(values).sum().item<int64_t>();
  return NonFinite{.tensor = std::move(name),
                   .nan = nan,
                   .infinite = finite.numel() - good - nan,
                   .elements = finite.numel(),
                   .first = finite.logical_not().to(at::kByte).argmax().item<int64_t>()};
}

std::string Finding::text() const {
  std::string all;
  for (const auto& tensor : tensors) all += (all.empty() ? "" : "; ") + tensor.text();
  return "in the " + std::string(name_of(pass)) + " of " + unit + ": " + all;
}

NonFiniteSearch::NonFiniteSearch(const models::Program& program,
                                 std::vector<std::string> block_names)
    : program_(program), names_(std::move(block_names)) {
  for (int block = 0; block < program.blocks(); ++block)
    for (const auto& [name, tensor] : program.parameters(block)) {
      if (!tensor.requires_grad()) continue;
      const unsigned id = tensor.register_hook([this, block, name = name](const at::Tensor& value) {
        check(Pass::kBackward, block, value, "the gradient of " + name);
      });
      hooks_.push_back({tensor, id});
    }
}

NonFiniteSearch::~NonFiniteSearch() {
  for (const auto& [parameter, id] : hooks_) parameter.remove_hook(id);
}

void NonFiniteSearch::begin(Pass, int) {}

// What is recomputed is equal to what was: its forward has been seen.
void NonFiniteSearch::end(Pass pass, int block, const at::Tensor& value) {
  if (finding_ || pass == Pass::kRecompute) return;
  if (pass == Pass::kBackward) {
    if (value.defined()) check(pass, block, value, "the gradient of its input");
    return;
  }
  if (!non_finite(value, "")) return;
  check_parameters(block);
  if (!finding_)
    check(pass, block, value, block + 1 == program_.blocks() ? "the loss" : "the output");
}

void NonFiniteSearch::check(Pass pass, int block, const at::Tensor& value,
                            const std::string& name) {
  const bool further = finding_ && finding_->pass == Pass::kBackward && pass == Pass::kBackward;
  if ((finding_ && !further) || (further && finding_->tensors.size() >= kMostTensors)) return;
  auto found = non_finite(value, name);
  if (!found) return;
  if (!finding_)
    finding_ = {.pass = pass, .unit = names_[static_cast<size_t>(block)], .tensors = {}};
  finding_->tensors.push_back(std::move(*found));
}

void NonFiniteSearch::check_parameters(int block) {
  for (const auto& [name, tensor] : program_.parameters(block)) {
    check(Pass::kForward, block, tensor, name);
    if (finding_) return;
  }
}

}  // namespace hydrofoil::train
