// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/parallel/ring.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/logaddexp.h>
#include <ATen/ops/zeros.h>
#include <torch/csrc/autograd/custom_function.h>

#include <utility>

#include "hydrofoil/models/flash.h"
#include "hydrofoil/models/kept.h"

namespace hydrofoil::parallel {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

const comm::Label kKeys{comm::Purpose::kActivations, "ring attention"};
const comm::Label kGradients{comm::Purpose::kActivations, "gradients of ring attention"};

// A rank's place in the ring, and what passes through it.
class Stop {
 public:
  explicit Stop(const Ring& ring)
      : ring_(ring), rank_(ring.group.rank()), last_(ring.group.size() - 1) {}

  // Blocks come in this order: the own one, then those of the ranks before.
  int blocks() const { return rank_ + 1; }
  int owner(int block) const { return rank_ - block; }
  bool is_last() const { return rank_ == last_; }
  int last() const { return last_; }

  comm::Work pass_on(const at::Tensor& tensor, const comm::Label& label) const {
    return is_last() ? comm::Work() : send(tensor, rank_ + 1, label);
  }
  comm::Work send(const at::Tensor& tensor, int to, const comm::Label& label) const {
    return ring_.group.send({tensor.const_data_ptr(), tensor.nbytes(), DType::kU8}, to, label,
                            comm::Issue::kAsync);
  }
  comm::Work receive(const at::Tensor& tensor, int from, const comm::Label& label) const {
    return ring_.group.recv({tensor.mutable_data_ptr(), tensor.nbytes(), DType::kU8}, from, label,
                            comm::Issue::kAsync);
  }
  // For a block of the shape of `like`.
  at::Tensor room(const at::Tensor& like, int block, at::ScalarType type) const {
    auto shape = like.sizes().vec();
    shape[1] = ring_.tokens[static_cast<size_t>(owner(block))];
    return at::empty(shape, like.options().dtype(type));
  }

 private:
  const Ring& ring_;
  const int rank_, last_;
};

// One block's keys and values as attention takes them, [B, T, heads, D].
struct Block {
  at::Tensor keys, values;
};
Block for_heads(const at::Tensor& kv, const Ring& ring) {
  const auto all = ring.kv_of_head.defined() ? kv.index_select(2, ring.kv_of_head) : kv;
  const int64_t dim = kv.size(3) / 2;
  return {all.narrow(3, 0, dim), all.narrow(3, dim, dim)};
}

// What attention to some keys gives: a mean of their values [B, T, heads, D], and how much it
// weighs, [B, heads, T].
struct Mean {
  at::Tensor values, log_sum;

  void add(at::Tensor more, const at::Tensor& more_log_sum) {
    more = more.to(at::kFloat);
    if (!values.defined()) {
      values = std::move(more), log_sum = more_log_sum;
      return;
    }
    const auto sum = at::logaddexp(log_sum, more_log_sum);
    const auto share = [&](const at::Tensor& of) {
      return (of - sum).exp().transpose(1, 2).unsqueeze(3);
    };
    values = values * share(log_sum) + more * share(more_log_sum);
    log_sum = sum;
  }
};

Mean forward(const Ring& ring, const at::Tensor& q, const at::Tensor& own) {
  const Stop stop(ring);
  Mean mean;
  at::Tensor kv = own;
  for (int block = 0; block < stop.blocks(); ++block) {
    const bool more = block + 1 < stop.blocks();
    const auto sent = stop.pass_on(kv, kKeys);
    at::Tensor next;
    comm::Work received;
    if (more) {
      next = stop.room(own, block + 1, own.scalar_type());
      received = stop.receive(next, stop.owner(1), kKeys);
    }
    if (q.size(1) > 0) {
      const auto [keys, values] = for_heads(kv, ring);
      const auto [out, log_sum] =
          models::flash_forward(q, keys, values, ring.scale, /*causal=*/block == 0);
      mean.add(out, log_sum);
    }
    sent.wait(), received.wait();
    kv = std::move(next);
  }
  return mean;
}

struct Gradients {
  at::Tensor q, kv;
};

// The blocks pass once more, each followed by the gradient that the ranks so far have given it; the
// last rank sends that home.
Gradients backward(const Ring& ring, const at::Tensor& grad, const at::Tensor& q,
                   const at::Tensor& own, const at::Tensor& out, const at::Tensor& log_sum) {
  const Stop stop(ring);
  auto grad_q = at::zeros(q.sizes(), q.options().dtype(at::kFloat));
  at::Tensor kv = own, home;
  std::vector<std::pair<at::Tensor, comm::Work>> leaving;  // until the next rank has them
  for (int block = 0; block < stop.blocks(); ++block) {
    auto grad_kv = stop.room(own, block, at::kFloat).zero_();
    leaving.emplace_back(kv, stop.pass_on(kv, kKeys));
    comm::Work followed, received;
    at::Tensor next;
    if (block > 0) followed = stop.receive(grad_kv, stop.owner(1), kGradients);
    if (block + 1 < stop.blocks()) {
      next = stop.room(own, block + 1, own.scalar_type());
      received = stop.receive(next, stop.owner(1), kKeys);
    }
    at::Tensor more;
    if (q.size(1) > 0) {
      const auto [keys, values] = for_heads(kv, ring);
      const auto [dq, dk, dv] = models::flash_backward(grad, q, keys, values, {out, log_sum},
                                                       ring.scale, /*causal=*/block == 0);
      grad_q.add_(dq);
      more = at::cat({dk, dv}, 3).to(at::kFloat);
    }
    followed.wait();
    if (more.defined() && ring.kv_of_head.defined()) {
      grad_kv.index_add_(2, ring.kv_of_head, more);
    } else if (more.defined()) {
      grad_kv.add_(more);
    }
    if (!stop.is_last()) {
      leaving.emplace_back(grad_kv, stop.pass_on(grad_kv, kGradients));
    } else if (block > 0) {
      leaving.emplace_back(grad_kv, stop.send(grad_kv, stop.owner(block), kGradients));
    } else {
      home = grad_kv;
    }
    received.wait();
    kv = std::move(next);
  }
  if (!stop.is_last()) {
    home = stop.room(own, 0, at::kFloat);
    stop.receive(home, stop.last(), kGradients).wait();
  }
  for (const auto& [tensor, sent] : leaving) sent.wait();
  return {grad_q, home};
}

struct RingAttention : torch::autograd::Function<RingAttention> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& q, const at::Tensor& given,
                            const Ring& ring) {
    const auto kv = given.contiguous();
    auto mean = parallel::forward(ring, q, kv);
    if (!mean.values.defined())  // no token
      mean = {at::empty_like(q), {}};
    const auto out = mean.values.to(q.scalar_type());
    context->save_for_backward({q, kv, out, mean.log_sum});
    models::keep(context, ring);
    return out;
  }
  static variable_list backward(AutogradContext* context, variable_list grads) {
    const auto saved = context->get_saved_variables();
    const auto [grad_q, grad_kv] = parallel::backward(models::kept<Ring>(context), grads[0],
                                                      saved[0], saved[1], saved[2], saved[3]);
    const auto type = saved[0].scalar_type();
    return {grad_q.to(type), grad_kv.to(type), {}};
  }
};

}  // namespace

at::Tensor ring_attention(const Ring& ring, const at::Tensor& q, const at::Tensor& kv) {
  return RingAttention::apply(q, kv, ring);
}

}  // namespace hydrofoil::parallel
