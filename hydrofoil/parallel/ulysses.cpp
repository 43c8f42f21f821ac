// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/parallel/ulysses.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <torch/csrc/autograd/custom_function.h>

#include "hydrofoil/models/kept.h"

namespace hydrofoil::parallel {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

template <class T>
const T& own(const Exchange& e, const std::vector<T>& by_rank) {
  return by_rank[static_cast<size_t>(e.group.rank())];
}

// Sends pieces[r] to rank r; what comes from rank r has the shape of results[r].
std::vector<at::Tensor> all_to_all(const comm::Communicator& group,
                                   const std::vector<at::Tensor>& pieces,
                                   const std::vector<std::vector<int64_t>>& results) {
  std::vector<size_t> sent, received;
  int64_t leaving = 0, coming = 0;
  for (size_t r = 0; r < pieces.size(); ++r) {
    leaving += pieces[r].numel();
    coming += c10::multiply_integers(results[r]);
    sent.push_back(pieces[r].nbytes());
    received.push_back(static_cast<size_t>(c10::multiply_integers(results[r])) *
                       pieces[r].element_size());
  }
  const auto options = pieces.front().options();
  const auto out = at::empty({leaving}, options), in = at::empty({coming}, options);
  int64_t next = 0;
  for (const auto& piece : pieces) {
    out.narrow(0, next, piece.numel()).view(piece.sizes()).copy_(piece);
    next += piece.numel();
  }
  group.all_to_all({out.const_data_ptr(), out.nbytes(), DType::kU8}, sent,
                   {in.mutable_data_ptr(), in.nbytes(), DType::kU8}, received,
                   {comm::Purpose::kActivations, "attention"});
  std::vector<at::Tensor> parts;
  int64_t begin = 0;
  for (const auto& shape : results) {
    const int64_t numel = c10::multiply_integers(shape);
    parts.push_back(in.narrow(0, begin, numel).view(shape));
    begin += numel;
  }
  return parts;
}

at::Tensor send_to_heads(const Exchange& e, const at::Tensor& x) {
  std::vector<at::Tensor> pieces;
  std::vector<std::vector<int64_t>> results;
  for (size_t r = 0; r < e.heads.size(); ++r) {
    pieces.push_back(x.narrow(2, e.heads[r].begin, e.heads[r].count));
    results.push_back({x.size(0), e.tokens[r], own(e, e.heads).count, x.size(3)});
  }
  return at::cat(all_to_all(e.group, pieces, results), 1);
}

at::Tensor send_to_tokens(const Exchange& e, const at::Tensor& x, int64_t heads) {
  std::vector<at::Tensor> pieces;
  std::vector<std::vector<int64_t>> results;
  int64_t worked = 0, begin = 0;
  for (size_t r = 0; r < e.heads.size(); ++r) {
    pieces.push_back(x.narrow(1, begin, e.tokens[r]));
    results.push_back({x.size(0), own(e, e.tokens), e.heads[r].count, x.size(3)});
    begin += e.tokens[r];
    worked += e.heads[r].count;
  }
  const auto parts = all_to_all(e.group, pieces, results);
  if (worked == heads) return at::cat(parts, 2);
  auto sum = at::zeros({x.size(0), own(e, e.tokens), heads, x.size(3)}, x.options());
  for (size_t r = 0; r < parts.size(); ++r)
    sum.narrow(2, e.heads[r].begin, e.heads[r].count).add_(parts[r]);
  return sum;
}

// The two are each other's gradients.
struct ToHeads : torch::autograd::Function<ToHeads> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x,
                            const Exchange& exchange) {
    models::keep(context, exchange);
    context->saved_data["heads"] = x.size(2);
    return send_to_heads(exchange, x);
  }
  static variable_list backward(AutogradContext* context, variable_list grads) {
    const int64_t heads = context->saved_data["heads"].toInt();
    return {send_to_tokens(models::kept<Exchange>(context), grads[0], heads), {}};
  }
};

struct ToTokens : torch::autograd::Function<ToTokens> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, int64_t heads,
                            const Exchange& exchange) {
    models::keep(context, exchange);
    return send_to_tokens(exchange, x, heads);
  }
  static variable_list backward(AutogradContext* context, variable_list grads) {
    return {send_to_heads(models::kept<Exchange>(context), grads[0]), {}, {}};
  }
};

}  // namespace

at::Tensor to_heads(const Exchange& exchange, const at::Tensor& x) {
  return ToHeads::apply(x, exchange);
}

at::Tensor to_tokens(const Exchange& exchange, const at::Tensor& x, int64_t heads) {
  return ToTokens::apply(x, heads, exchange);
}

}  // namespace hydrofoil::parallel
