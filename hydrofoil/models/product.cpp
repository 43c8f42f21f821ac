// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/models/product.h"

#include <ATen/Context.h>
#include <ATen/core/List.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/ops/addmm.h>
#include <ATen/ops/mm.h>

#include <algorithm>
#include <atomic>
#include <string>
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

constexpr const char* kLibtorch = "libtorch";  // as it chooses by itself
const char* plain_library() {
  return at::hasMKL() ? "MKL" : "BLAS";
}

enum class Forced : uint8_t { kNo, kOn, kOff };
std::atomic<Forced> forced{Forced::kNo};

bool foreign() {
  static const bool is = host::cpu_model().find("Intel") == std::string::npos;
  return is;
}

// AMD's family 19h (Zen 4) does 512 bits in two halves: MKL's path of 256 bits loses little there,
// and wins where oneDNN copies operands or sums are long (bench products; docs/performance.md).
bool halves_512_bits() {
#ifdef __x86_64__
  // Zen 3 is of that family and has no 512 bits.
  static const bool does = __builtin_cpu_is("amdfam19h") && __builtin_cpu_supports("avx512f");
  return does;
#else
  return false;
#endif
}
constexpr int64_t kLongSum = 16384;

// Both lie transposed in memory, and the result is no wider than tall: gradients of most weights.
bool is_tall_gradient(const at::Tensor& a, const at::Tensor& b) {
  return a.stride(1) != 1 && b.stride(1) != 1 && a.size(0) >= b.size(0);
}

bool prefers_onednn(const at::Tensor& a, const at::Tensor& b) {
  if (!a.device().is_cpu() || a.scalar_type() != at::kFloat || !onednn()) return false;
  if (const auto f = forced.load(std::memory_order_relaxed); f != Forced::kNo)
    return f == Forced::kOn;
  if (!foreign() || std::min(a.size(0), b.size(0)) < kLeastForeignRows ||
      a.numel() * b.size(0) < kLeastWork)
    return false;
  return !halves_512_bits() || (a.size(1) < kLongSum && !is_tall_gradient(a, b));
}

}  // namespace

at::Tensor product(const at::Tensor& a, const at::Tensor& b, const at::Tensor& bias) {
  if (!prefers_onednn(a, b)) return bias.defined() ? at::addmm(bias, a, b.t()) : at::mm(a, b.t());
  const auto optional_bias = bias.defined() ? std::optional(bias) : std::nullopt;
  return onednn()->call(a, b, optional_bias, "none", c10::List<std::optional<at::Scalar>>(), "");
}

namespace {

std::string exceptions() {
  const std::string small = "for fewer than " + std::to_string(kLeastForeignRows) + " rows or " +
                            std::to_string(kLeastWork >> 20) + " Mi multiply-adds";
  return halves_512_bits() ? small + ", sums of " + std::to_string(kLongSum) +
                                 " and more, weights' gradients no wider than tall"
                           : small;
}

}  // namespace

std::vector<kernels::Choice> product_choices() {
  const std::string plain = plain_library();
  kernels::Choice fp32{.work = "product_fp32", .chosen = plain, .candidates = {plain}};
  if (!onednn()) {
    fp32.reason = "this libtorch has no mkldnn::_linear_pointwise of a known form";
  } else {
    fp32.candidates.emplace_back(kOneDnn);
    if (foreign()) fp32.chosen = kOneDnn;
    fp32.reason = foreign() ? "not an Intel CPU; " + plain + " " + exceptions() : "an Intel CPU";
  }
  return {fp32,
          {.work = "product_bf16",
           .chosen = kLibtorch,
           .candidates = {kLibtorch},
           .reason = host::multiplies_bf16() ? "its own choice; this CPU multiplies bf16"
                                             : "its own choice; this CPU does not multiply bf16"}};
}

std::string product_library(const at::Tensor& a, const at::Tensor& b) {
  if (a.scalar_type() != at::kFloat) return kLibtorch;
  return prefers_onednn(a, b) ? std::string(kOneDnn) : plain_library();
}

void force_onednn(std::optional<bool> on) {
  forced = on ? *on ? Forced::kOn : Forced::kOff : Forced::kNo;
}

}  // namespace hydrofoil::models
