// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/models/flash.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/_scaled_dot_product_flash_attention_for_cpu.h>
#include <ATen/ops/_scaled_dot_product_flash_attention_for_cpu_backward.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/record_function.h>
#include <torch/csrc/autograd/custom_function.h>

#include "hydrofoil/kernels/flash.h"
#include "hydrofoil/kernels/isa.h"

namespace hydrofoil::models {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

at::Tensor with_rows(const at::Tensor& x) {
  return x.stride(3) == 1 ? x : x.contiguous();
}
at::Tensor new_like(const at::Tensor& x) {
  return at::empty_like(x, x.options(), at::MemoryFormat::Contiguous);
}

template <class Data>
kernels::FlashHeads<Data> heads_of(const at::Tensor& x, Data* data) {
  return {data, static_cast<size_t>(x.stride(0)), static_cast<size_t>(x.stride(2)),
          static_cast<size_t>(x.stride(1))};
}
kernels::ConstHeads const_heads(const at::Tensor& x) {
  return heads_of(x, x.const_data_ptr());
}
kernels::NewHeads new_heads(const at::Tensor& x) {
  return heads_of(x, x.mutable_data_ptr());
}

kernels::FlashShape shape_of(const at::Tensor& q, const at::Tensor& k, double scale, bool causal) {
  const auto size = [](const at::Tensor& x, int64_t dim) {
    return static_cast<size_t>(x.size(dim));
  };
  return {.dtype = q.scalar_type() == at::kFloat ? DType::kF32 : DType::kBF16,
          .batch = size(q, 0),
          .heads = size(q, 2),
          .kv_heads = size(k, 2),
          .queries = size(q, 1),
          .keys = size(k, 1),
          .head_dim = size(q, 3),
          .scale = static_cast<float>(scale),
          .causal = causal};
}

// Multiply-adds of that tier are calls of the C library there.
#ifdef __x86_64__
constexpr bool kScalarIsQuick = false;
#else
constexpr bool kScalarIsQuick = true;
#endif
bool kernels_are_quick() {
  return kScalarIsQuick || kernels::active_isa() != kernels::Isa::kScalar;
}

struct FlashAttention : torch::autograd::Function<FlashAttention> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& q, const at::Tensor& k,
                            const at::Tensor& v, double scale, bool causal) {
    const auto mixed = flash_forward(q, k, v, scale, causal);
    context->save_for_backward({q, k, v, mixed.out, mixed.log_sums});
    context->saved_data["scale"] = scale;
    context->saved_data["causal"] = causal;
    return mixed.out;
  }
  static variable_list backward(AutogradContext* context, variable_list grads) {
    const auto saved = context->get_saved_variables();
    auto [q, k, v] = flash_backward(
        grads[0], saved[0], saved[1], saved[2], {.out = saved[3], .log_sums = saved[4]},
        context->saved_data["scale"].toDouble(), context->saved_data["causal"].toBool());
    return {q, k, v, {}, {}};
  }
};

}  // namespace

bool flash_takes(const at::Tensor& q, const at::Tensor& k, bool causal) {
  constexpr int64_t kStep = 16;
  return kernels_are_quick() && q.device().is_cpu() &&
         (q.scalar_type() == at::kFloat || q.scalar_type() == at::kBFloat16) &&
         q.size(3) % kStep == 0 && q.numel() > 0 && k.numel() > 0 &&
         (!causal || q.size(1) == k.size(1));
}

kernels::Choice attention_choice() {
  auto choice = kernels::tier_choice("attention", kernels::Isa::kAvx512Bf16);
  if (!kScalarIsQuick) choice.candidates.erase(choice.candidates.begin());
  choice.candidates.insert(choice.candidates.begin(), "libtorch");
  if (!kernels_are_quick()) choice.chosen = "libtorch";
  choice.reason += "; libtorch for masks, caps and heads of no multiple of 16";
  return choice;
}

at::Tensor flash_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                           double scale, bool causal) {
  RECORD_USER_SCOPE("FlashAttention");
  return FlashAttention::apply(q, k, v, scale, causal);
}

Mixed flash_forward(const at::Tensor& given_q, const at::Tensor& given_k, const at::Tensor& given_v,
                    double scale, bool causal) {
  if (!flash_takes(given_q, given_k, causal)) {
    const auto [out, log_sums] = at::_scaled_dot_product_flash_attention_for_cpu(
        given_q.transpose(1, 2), given_k.transpose(1, 2), given_v.transpose(1, 2), /*dropout_p=*/0,
        causal, {}, scale);
    return {out.transpose(1, 2), log_sums};
  }
  const auto q = with_rows(given_q), k = with_rows(given_k), v = with_rows(given_v);
  Mixed mixed{new_like(q),
              at::empty({q.size(0), q.size(2), q.size(1)}, q.options().dtype(at::kFloat))};
  kernels::flash_forward(shape_of(q, k, scale, causal), const_heads(q), const_heads(k),
                         const_heads(v), new_heads(mixed.out),
                         mixed.log_sums.mutable_data_ptr<float>());
  return mixed;
}

std::array<at::Tensor, 3> flash_backward(const at::Tensor& given_grad, const at::Tensor& given_q,
                                         const at::Tensor& given_k, const at::Tensor& given_v,
                                         const Mixed& mixed, double scale, bool causal) {
  if (!flash_takes(given_q, given_k, causal)) {
    const auto [dq, dk, dv] = at::_scaled_dot_product_flash_attention_for_cpu_backward(
        given_grad.transpose(1, 2), given_q.transpose(1, 2), given_k.transpose(1, 2),
        given_v.transpose(1, 2), mixed.out.transpose(1, 2), mixed.log_sums, /*dropout_p=*/0, causal,
        {}, scale);
    return {dq.transpose(1, 2), dk.transpose(1, 2), dv.transpose(1, 2)};
  }
  const auto q = with_rows(given_q), k = with_rows(given_k), v = with_rows(given_v);
  const auto grad = with_rows(given_grad), out = with_rows(mixed.out);
  const auto log_sums = mixed.log_sums.contiguous();
  std::array<at::Tensor, 3> grads = {new_like(q), new_like(k), new_like(v)};
  kernels::flash_backward(shape_of(q, k, scale, causal),
                          {.q = const_heads(q),
                           .k = const_heads(k),
                           .v = const_heads(v),
                           .out = const_heads(out),
                           .grad_out = const_heads(grad),
                           .log_sums = log_sums.const_data_ptr<float>()},
                          new_heads(grads[0]), new_heads(grads[1]), new_heads(grads[2]));
  return grads;
}

}  // namespace hydrofoil::models
