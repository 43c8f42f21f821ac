// SPDX-License-Identifier: Apache-2.0
// The engine against Hugging Face models trained by PyTorch's AdamW: from equal weights on equal
// data, clipping at 1.0; 50 steps in fp32 (tests/models/make_golden.py), 20 under PyTorch's
// autocast (make_autocast.py).
#include <ATen/Parallel.h>
#include <ATen/ops/from_blob.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>

#include "hydrofoil/train/model.h"
#include "tests/support/golden.h"
#include "tests/support/ranks.h"

namespace hydrofoil::train::parity_test {
namespace {

constexpr int64_t kBatches = 5, kRows = 3, kTime = 17;

// Rows [first, first + rows) of batch `index`.
models::Batch rows_of(const std::vector<int64_t>& tokens, const std::vector<int64_t>& labels,
                      int64_t index, int64_t first, int64_t rows) {
  const auto cut = [&](const std::vector<int64_t>& all) {
    auto* from = const_cast<int64_t*>(all.data()) + (index * kRows + first) * kTime;
    return at::from_blob(from, {rows, kTime}, at::kLong).clone();
  };
  return {cut(tokens), cut(labels)};
}

struct Case {
  const char* model;
  int ranks, stage;
};
void PrintTo(const Case& c, std::ostream* out) {
  *out << c.model << " stage " << c.stage << " on " << c.ranks;
}

struct Expected {
  std::vector<double> losses, norms;
  double loss_error, norm_error;  // relative
};

std::string golden(const char* model) {
  return std::string(HYDROFOIL_GOLDEN_DIR) + "/" + model;
}

void expect_follows(const Case& c, EngineOptions options, spec::ParameterTypes types,
                    const Expected& expected) {
  const std::string folder = golden(c.model);
  const auto weights = test::read_golden(folder + "/model.safetensors");
  const auto run = test::read_golden(folder + "/run.safetensors");
  const auto tokens = run.at("tokens").values<int64_t>(),
             labels = run.at("labels").values<int64_t>();
  const auto spec = spec::model_spec_from_hf(test::read_text(folder + "/config.json"), folder);
  options.stage = c.stage;
  options.groups = {{.lr = 1e-3, .weight_decay = 0.1}};
  test::run_ranks(c.ranks, [&](const comm::Communicator& group) {
    at::set_num_threads(1);
    Model model = make_model(group, spec, options, types);
    model.engine->fill_parameters(
        [&](const std::string& parameter, size_t begin, std::span<float> out) {
          std::memcpy(out.data(), weights.at(parameter).bytes.data() + begin * sizeof(float),
                      out.size_bytes());
        });
    const int64_t rows = kRows / group.size();
    for (size_t step = 0; step < expected.losses.size(); ++step) {
      const auto batch =
          rows_of(tokens, labels, static_cast<int64_t>(step) % kBatches, group.rank() * rows, rows);
      const auto loss = batch_loss(*model.program, batch, /*recompute=*/false);
      model.engine->backward(loss.sum, loss.weight);
      const auto result = model.engine->step();
      const double mean = expected.losses[step], norm = expected.norms[step];
      ASSERT_NEAR(result.loss, mean, expected.loss_error * mean) << "step " << step;
      ASSERT_NEAR(result.gradient_norm, norm, expected.norm_error * norm) << "step " << step;
    }
    group.barrier();
  });
}

class Parity : public testing::TestWithParam<Case> {};

TEST_P(Parity, FiftyStepsFollowPyTorch) {
  const auto run = test::read_golden(golden(GetParam().model) + "/run.safetensors");
  expect_follows(GetParam(), {}, {},
                 {run.at("losses").values<double>(), run.at("norms").values<double>(), 1e-5, 1e-4});
}

// The tolerances are what the order of sums in 16-bit products is worth after 20 steps: as much as
// autocast and fp32 differ.
TEST_P(Parity, AutocastFollowsPyTorchs) {
  const auto run = test::read_golden(golden(GetParam().model) + "/autocast.safetensors");
  for (const auto& [name, type] : {std::pair{"bfloat16", DType::kBF16}, {"float16", DType::kF16}}) {
    SCOPED_TRACE(name);
    const bool half = type == DType::kF16;
    expect_follows(GetParam(),
                   {.wire_as_parameters = true, .loss_scale = {.initial = half ? 65536.0 : 1.0}},
                   {.linear = type},
                   {run.at(std::string(name) + ".losses").values<double>(),
                    run.at(std::string(name) + ".norms").values<double>(), half ? 2e-4 : 1e-3,
                    half ? 5e-3 : 3e-2});
  }
}

INSTANTIATE_TEST_SUITE_P(All, Parity,
                         testing::Values(Case{"gpt2", 1, 0}, Case{"llama", 1, 0},
                                         Case{"gpt2", 3, 3}, Case{"llama", 3, 1},
                                         Case{"llama", 3, 3}));

}  // namespace
}  // namespace hydrofoil::train::parity_test
