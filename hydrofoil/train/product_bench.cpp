// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/train/product_bench.h"

#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/randn.h>

#include <algorithm>
#include <optional>
#include <stdexcept>

#include "hydrofoil/core/parallel.h"
#include "hydrofoil/core/stopwatch.h"
#include "hydrofoil/kernels/peak.h"
#include "hydrofoil/models/product.h"
#include "hydrofoil/monitor/ratio.h"
#include "hydrofoil/spec/loss_pieces.h"
#include "hydrofoil/train/threads.h"

namespace hydrofoil::train {
namespace {

void add_new(std::vector<Product>& all, const std::vector<Product>& products) {
  for (const auto& product : products)
    if (std::ranges::find(all, product) == all.end()) all.push_back(product);
}

// As models/cross_entropy.cpp multiplies: logits of some rows at a time, the weight's gradient by
// slices.
std::vector<Product> products_of_head(int64_t tokens, int64_t width, int64_t vocabulary) {
  const int64_t rows = spec::loss_rows(tokens, vocabulary);
  auto products = products_of(rows, width, vocabulary, false);
  products.back().m = std::min(vocabulary, spec::head_gradient_rows(width));
  products.back().a_width = vocabulary;
  return products;
}

at::Tensor operand(int64_t rows, int64_t columns, bool turned, int64_t width, at::ScalarType type) {
  if (!turned) return at::randn({rows, columns}).to(type);
  return at::randn({columns, width ? width : rows}).to(type).narrow(1, 0, rows).t();
}

struct Forced {
  explicit Forced(bool onednn) { models::force_onednn(onednn); }
  ~Forced() { models::force_onednn(std::nullopt); }
  Forced(const Forced&) = delete;
  Forced& operator=(const Forced&) = delete;
};

// Small products go round several times, so that the clock has something to see.
double seconds_of(const std::string& candidate, const at::Tensor& a, const at::Tensor& b,
                  double flops) {
  constexpr double kLeastFlops = 2e8;
  const int repeats = std::max(1, static_cast<int>(kLeastFlops / flops));
  const Forced forced(candidate == models::kOneDnn);
  double seconds = 0;
  {
    const Stopwatch watch(seconds);
    for (int i = 0; i < repeats; ++i) models::product(a, b);
  }
  return seconds / repeats;
}

// Of our kernels and libtorch's, while it lives.
class Threads {
 public:
  explicit Threads(int threads) { set_threads(threads); }
  ~Threads() {
    set_compute_threads(ours_);
    at::set_num_threads(libtorchs_);
  }
  Threads(const Threads&) = delete;
  Threads& operator=(const Threads&) = delete;

 private:
  const int ours_ = compute_threads(), libtorchs_ = at::get_num_threads();
};

const kernels::Choice& choice_of(const std::vector<kernels::Choice>& choices, DType type) {
  const std::string work = type == DType::kBF16 ? "product_bf16" : "product_fp32";
  return *std::ranges::find(choices, work, &kernels::Choice::work);
}

}  // namespace

std::string_view name_of(ProductRole role) {
  switch (role) {
    case ProductRole::kForward:
      return "forward";
    case ProductRole::kInputGradient:
      return "dX";
    case ProductRole::kWeightGradient:
      return "dW";
  }
  throw std::logic_error("unknown role");
}

// The operands of models/layers.cpp.
std::vector<Product> products_of(int64_t tokens, int64_t in, int64_t out, bool transposed) {
  const auto rows = transposed ? in : out, columns = transposed ? out : in;
  return {{ProductRole::kForward, tokens, in, out, false, transposed},
          {ProductRole::kInputGradient, tokens, out, in, false, !transposed},
          {ProductRole::kWeightGradient, rows, tokens, columns, true, true}};
}

std::vector<Product> products_of(const BenchShape& shape) {
  const auto spec = shape.spec();
  const int64_t tokens = shape.sequences * shape.sequence_length;
  const auto blocks = spec::blocks(spec);
  std::vector<Product> all;
  for (const auto& parameter : blocks.at(1).parameters) {
    if (parameter.bias || !is_linear(parameter)) continue;
    const bool transposed = spec.transposed_linear;
    add_new(all, products_of(tokens, parameter.shape[transposed ? 0 : 1],
                             parameter.shape[transposed ? 1 : 0], transposed));
  }
  add_new(all, products_of_head(tokens, spec.token_size(), spec.vocab_size));
  return all;
}

double ProductCase::below_best() const {
  return 1 - flops_per_second[chosen] / std::ranges::max(flops_per_second);
}

ProductCase time_product(const Product& product, DType type, int threads, int rounds) {
  const at::NoGradGuard no_grad;
  const Threads here(threads);
  const auto scalar_type = type == DType::kBF16 ? at::kBFloat16 : at::kFloat;
  const auto a = operand(product.m, product.k, product.a_turned, product.a_width, scalar_type);
  const auto b = operand(product.n, product.k, product.b_turned, 0, scalar_type);
  const auto choices = models::product_choices();
  ProductCase result{
      .product = product, .threads = threads, .candidates = choice_of(choices, type).candidates};
  const auto& names = result.candidates;
  result.chosen =
      static_cast<size_t>(std::ranges::find(names, models::product_library(a, b)) - names.begin());
  std::vector<std::vector<double>> seconds(names.size());
  std::vector<double> peaks;
  for (int round = 0; round <= rounds; ++round) {
    for (size_t i = 0; i < names.size(); ++i) {
      const double taken = seconds_of(names[i], a, b, product.flops());
      if (round > 0) seconds[i].push_back(taken);  // before that memory is new
    }
    peaks.push_back(kernels::peak_flops_per_second(type));
  }
  for (const auto& of_one : seconds)
    result.flops_per_second.push_back(product.flops() / monitor::median(of_one));
  result.peak_flops_per_second = monitor::median(peaks);
  return result;
}

}  // namespace hydrofoil::train
