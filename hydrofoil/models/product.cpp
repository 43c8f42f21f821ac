// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/models/product.h"

#include <ATen/core/List.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/ops/addmm.h>
#include <ATen/ops/mm.h>

#include <atomic>
#include <string_view>

#include "hydrofoil/core/host.h"

namespace hydrofoil::models {
namespace {

// mkldnn::_linear_pointwise(x, w, bias, attr, scalars, algorithm) -> x . w^T + bias. An operator
// of libtorch's compiler back end: where a release lacks it or changes it, MKL does the work.
using Pointwise = at::Tensor(const at::Tensor&, const at::Tensor&, const std::optional<at::Tensor>&,
                             std::string_view, c10::List<std::optional<at::Scalar>>,
                             std::optional<std::string_view>);
constexpr const char* kPointwiseSchema =
    "mkldnn::_linear_pointwise(Tensor X, Tensor W, Tensor? B, str attr, Scalar?[] scalars, "
    "str? algorithm) -> Tensor Y";

// Below this many multiply-adds the call costs more than it saves (20 us against 5).
constexpr int64_t kLeastWork = 1 << 22;
constexpr int64_t kLeastForeignRows =
    16;  // a few rows are a matter of memory bandwidth: MKL is as fast

const c10::TypedOperatorHandle<Pointwise>* onednn() {
  static const auto handle = []() -> std::optional<c10::TypedOperatorHandle<Pointwise>> {
    const auto found = c10::Dispatcher::singleton().findSchema({"mkldnn::_linear_pointwise", ""});
    if (!found || toString(found->schema()) != kPointwiseSchema) return std::nullopt;
    return found->typed<Pointwise>();
  }();
  return handle ? &*handle : nullptr;
}

enum class Forced : uint8_t { kNo, kOn, kOff };
std::atomic<Forced> forced{Forced::kNo};

bool prefers_onednn(const at::Tensor& a, const at::Tensor& b) {
  static const bool foreign = host::cpu_model().find("Intel") == std::string::npos;
  if (!a.device().is_cpu() || a.scalar_type() != at::kFloat || !onednn()) return false;
  if (const auto f = forced.load(std::memory_order_relaxed); f != Forced::kNo)
    return f == Forced::kOn;
  return foreign && std::min(a.size(0), b.size(0)) >= kLeastForeignRows &&
         a.numel() * b.size(0) >= kLeastWork;
}

}  // namespace

at::Tensor product(const at::Tensor& a, const at::Tensor& b, const at::Tensor& bias) {
  if (!prefers_onednn(a, b)) return bias.defined() ? at::addmm(bias, a, b.t()) : at::mm(a, b.t());
  const auto optional_bias = bias.defined() ? std::optional(bias) : std::nullopt;
  return onednn()->call(a, b, optional_bias, "none", c10::List<std::optional<at::Scalar>>(), "");
}

void force_onednn(std::optional<bool> on) {
  forced = on ? *on ? Forced::kOn : Forced::kOff : Forced::kNo;
}

}  // namespace hydrofoil::models
