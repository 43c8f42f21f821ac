// SPDX-License-Identifier: Apache-2.0
// Oracle: Hugging Face's models and PyTorch's AdamW (golden/, made by make_golden.py).
#include "hydrofoil/models/decoder.h"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/zeros_like.h>
#include <gmock/gmock.h>

#include <cmath>
#include <set>

#include "hydrofoil/core/error.h"
#include "tests/models/tiny.h"

namespace hydrofoil::models::decoder_test {
namespace {

using test::golden_model;
using test::GoldenModel;

class Golden : public testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(Families, Golden, testing::Values("gpt2", "llama"));

TEST_P(Golden, LogitsAndLossMatchHuggingFace) {
  const GoldenModel golden = golden_model(GetParam());
  const Batch batch = golden.batch(0);
  const auto hidden = hidden_states(golden.model, batch);
  const auto want = test::to_tensor(golden.run.at("logits"));
  EXPECT_LT(test::relative_difference(golden.model.logits(hidden), want), 1e-5);
  const LossSum loss = golden.model.loss(hidden, batch);
  const double first = golden.run.at("losses").values<double>()[0];
  EXPECT_NEAR(loss.sum.item<double>() / loss.weight, first, 1e-5 * first);
}

TEST_P(Golden, GradientsMatchHuggingFace) {
  const GoldenModel golden = golden_model(GetParam());
  const LossSum loss = forward_loss(golden.model, golden.batch(0));
  loss.sum.backward();
  double largest = 0;
  for (const auto& p : test::all_parameters(golden.model))
    largest = std::max(largest, (p.tensor.grad() / loss.weight).abs().max().item<double>());
  for (const auto& p : test::all_parameters(golden.model)) {
    const auto want = test::to_tensor(golden.run.at("grad." + p.name));
    const auto error = (p.tensor.grad() / loss.weight - want).abs().max().item<double>();
    // Keys' biases have no gradient but rounding: measure against the tensor or the model.
    EXPECT_LT(error, std::max(1e-5 * want.abs().max().item<double>(), 1e-7 * largest)) << p.name;
  }
}

// Textbook AdamW on at:: operators, global clipping to 1.0: what make_golden.py ran.
class PlainAdamW {
 public:
  explicit PlainAdamW(const Program& program) : parameters_(test::all_parameters(program)) {
    for (const auto& p : parameters_)
      first_.push_back(at::zeros_like(p.tensor)), second_.push_back(at::zeros_like(p.tensor));
  }
  double step(double divisor) {  // the gradient norm before clipping
    at::NoGradGuard no_grad;
    double square = 0;
    for (const auto& p : parameters_)
      square += p.tensor.mutable_grad().div_(divisor).pow(2).sum(at::kDouble).item<double>();
    const double norm = std::sqrt(square), clip = std::min(1.0, 1.0 / (norm + 1e-6));
    ++steps_;
    const double correct1 = 1 - std::pow(0.9, steps_),
                 correct2 = std::sqrt(1 - std::pow(0.999, steps_));
    for (size_t i = 0; i < parameters_.size(); ++i) {
      auto p = parameters_[i].tensor;
      const auto g = std::exchange(p.mutable_grad(), {}).mul_(clip);
      p.mul_(1 - 1e-3 * 0.1);
      first_[i].mul_(0.9).add_(g, 0.1);
      second_[i].mul_(0.999).addcmul_(g, g, 0.001);
      p.addcdiv_(first_[i], second_[i].sqrt().div_(correct2).add_(1e-8), -1e-3 / correct1);
    }
    return norm;
  }

 private:
  std::vector<NamedTensor> parameters_;
  std::vector<at::Tensor> first_, second_;
  int steps_ = 0;
};

TEST_P(Golden, FiftyStepsFollowPyTorch) {
  const GoldenModel golden = golden_model(GetParam());
  const auto losses = golden.run.at("losses").values<double>();
  const auto norms = golden.run.at("norms").values<double>();
  PlainAdamW optimizer(golden.model);
  for (size_t step = 0; step < losses.size(); ++step) {
    const LossSum loss = forward_loss(golden.model, golden.batch(step % 5));
    loss.sum.backward();
    EXPECT_NEAR(loss.sum.item<double>() / loss.weight, losses[step], 1e-5 * losses[step]) << step;
    EXPECT_NEAR(optimizer.step(loss.weight), norms[step], 1e-4 * norms[step]) << step;
  }
}

TEST_P(Golden, SameThreadsSameBits) {
  const GoldenModel golden = golden_model(GetParam());
  at::set_num_threads(3);
  std::vector<at::Tensor> first;
  for (int run = 0; run < 3; ++run) {
    forward_loss(golden.model, golden.batch(1)).sum.backward();
    const auto grads = test::take_gradients(golden.model);
    if (run == 0) first = grads;
    for (size_t i = 0; i < grads.size(); ++i) EXPECT_TRUE(test::same_bits(grads[i], first[i])) << i;
  }
  at::set_num_threads(1);
}

TEST_P(Golden, NoParameterHasAnotherName) {
  const GoldenModel golden = golden_model(GetParam());
  std::set<std::string> names;
  for (const auto& p : test::all_parameters(golden.model)) {
    EXPECT_TRUE(names.insert(p.name).second) << p.name << " is listed twice";
    EXPECT_TRUE(p.tensor.is_leaf() && p.tensor.requires_grad()) << p.name;
  }
  size_t gradients = 0;
  for (const auto& [name, tensor] : golden.run) gradients += name.starts_with("grad.");
  EXPECT_EQ(names.size(), gradients);
}

TEST(Decoder, RefusesASequenceBeyondItsPositions) {
  const GoldenModel golden = golden_model("gpt2");
  const auto tokens = golden.batch(0).tokens.repeat({1, 2});  // 34 > 23
  EXPECT_THAT(
      [&] { golden.model.forward(0, tokens, {}); },
      testing::ThrowsMessage<Error>(testing::HasSubstr("34 tokens is longer than the model's 23")));
}

}  // namespace
}  // namespace hydrofoil::models::decoder_test
