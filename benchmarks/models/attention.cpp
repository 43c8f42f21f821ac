// SPDX-License-Identifier: Apache-2.0
// Attention as layers call it, forward and backward, ours and libtorch's in turn.
//
//   models_attention [THREADS [ROUNDS]]
//
// Prints a line for each shape and type: median milliseconds of both, forward and backward, how
// many times ours is as fast as libtorch's (all of it), and the largest difference of results as a
// share of the largest of them.
#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/scaled_dot_product_attention.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <string>
#include <vector>

#include "hydrofoil/core/parallel.h"
#include "hydrofoil/models/flash.h"

namespace hydrofoil {
namespace {

struct Shape {
  const char* name;
  int64_t batch, time, heads, kv_heads, head_dim;
  bool causal;
};
constexpr Shape kShapes[] = {
    {"S", 4, 256, 8, 8, 64, true},
    {"M", 2, 256, 12, 12, 64, true},
    {"G10", 8, 256, 6, 6, 64, true},
    {"llama-small", 4, 256, 8, 4, 64, true},
    {"bert-base", 8, 128, 12, 12, 64, false},
    {"bert, T 512", 2, 512, 12, 12, 64, false},
    {"T 2048", 1, 2048, 8, 2, 128, true},
};

struct Run {
  std::vector<double> forward, backward;  // milliseconds
  std::vector<at::Tensor> results;
};

double milliseconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start)
      .count();
}

template <class Mix>
void once(const at::Tensor& all, const Shape& s, const at::Tensor& grad, const Mix& mix, Run& run) {
  const auto leaf = all.detach().requires_grad_();
  const auto parts = leaf.split_with_sizes({s.heads, s.kv_heads, s.kv_heads}, 2);
  auto start = std::chrono::steady_clock::now();
  const auto out = mix(parts[0], parts[1], parts[2]);
  run.forward.push_back(milliseconds_since(start));
  start = std::chrono::steady_clock::now();
  out.backward(grad);
  run.backward.push_back(milliseconds_since(start));
  run.results = {out.detach(), leaf.grad()};
}

double median(std::vector<double> x) {
  std::sort(x.begin(), x.end());
  return x[x.size() / 2];
}

void compare(const Shape& s, at::ScalarType type, int rounds) {
  const auto options = at::TensorOptions().dtype(type);
  const auto all = at::randn({s.batch, s.time, s.heads + 2 * s.kv_heads, s.head_dim}, options);
  const auto grad = at::randn({s.batch, s.time, s.heads, s.head_dim}, options);
  const double scale = 1 / std::sqrt(static_cast<double>(s.head_dim));
  Run ours, theirs;
  for (int i = 0; i < rounds; ++i) {
    once(
        all, s, grad,
        [&](const auto& q, const auto& k, const auto& v) {
          return models::flash_attention(q, k, v, scale, s.causal);
        },
        ours);
    once(
        all, s, grad,
        [&](const auto& q, const auto& k, const auto& v) {
          return at::scaled_dot_product_attention(q.transpose(1, 2), k.transpose(1, 2),
                                                  v.transpose(1, 2), {}, 0, s.causal, scale,
                                                  s.heads != s.kv_heads)
              .transpose(1, 2);
        },
        theirs);
  }
  double apart = 0;
  for (size_t i = 0; i < ours.results.size(); ++i) {
    const auto a = ours.results[i].to(at::kDouble), b = theirs.results[i].to(at::kDouble);
    apart = std::max(apart, ((a - b).abs().max() / b.abs().max()).item<double>());
  }
  const double f = median(ours.forward), b = median(ours.backward), tf = median(theirs.forward),
               tb = median(theirs.backward);
  std::printf(
      "%-12s %s  ours %7.2f + %7.2f ms  libtorch %7.2f + %7.2f ms  %.2f times  %.1e apart\n",
      s.name, type == at::kFloat ? "fp32" : "bf16", f, b, tf, tb, (tf + tb) / (f + b), apart);
}

}  // namespace
}  // namespace hydrofoil

int main(int argc, char** argv) {
  const int threads = argc > 1 ? std::stoi(argv[1]) : 1,
            rounds = argc > 2 ? std::stoi(argv[2]) : 15;
  at::set_num_threads(threads);
  hydrofoil::set_compute_threads(threads);
  for (const auto type : {at::kBFloat16, at::kFloat})
    for (const auto& shape : hydrofoil::kShapes) hydrofoil::compare(shape, type, rounds);
}
