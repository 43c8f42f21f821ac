// SPDX-License-Identifier: Apache-2.0
// Oracle: transformers, on random tiny BERT and RoBERTa models with padded rows
// (golden/encoders.json, made by make_families.py).
#include "hydrofoil/models/encoder.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/tensor.h>
#include <gmock/gmock.h>

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "hydrofoil/core/error.h"
#include "tests/models/made.h"
#include "tests/models/tiny.h"

namespace hydrofoil::models::encoder_test {
namespace {

using Json = nlohmann::json;

const Json& cases() {
  static const Json all =
      Json::parse(test::read_text(std::string(HYDROFOIL_GOLDEN_DIR) + "/encoders.json"));
  return all;
}

class EncoderCase : public testing::TestWithParam<size_t> {
 protected:
  const Json& golden_ = cases()[GetParam()];
  Encoder model_{spec::model_spec_from_hf(golden_["config"].dump(), "config"), test::made_weight};
  Batch batch_{.tokens = test::made_matrix(golden_["tokens"]),
               .labels = test::made_matrix(golden_["labels"]),
               .token_types = test::made_matrix(golden_["token_types"]),
               .lengths = at::tensor(golden_["lengths"].get<std::vector<int64_t>>())};

  void SetUp() override {
    if (model_.spec().head == spec::HeadKind::kClasses) batch_.labels = batch_.labels.squeeze(1);
  }
};

std::string name_of(const testing::TestParamInfo<size_t>& info) {
  return cases()[info.param]["family"].get<std::string>() + "_" + std::to_string(info.index);
}
INSTANTIATE_TEST_SUITE_P(All, EncoderCase, testing::Range<size_t>(0, cases().size()), name_of);

TEST_P(EncoderCase, LogitsAndLossMatchTransformers) {
  const auto hidden = hidden_states(model_, batch_);
  auto logits = model_.logits(hidden);
  if (logits.dim() == 3) logits = logits.select(1, 0);
  test::expect_made_rows(logits, golden_["logits"]);
  const double loss = golden_["loss"];
  EXPECT_NEAR(model_.loss(hidden, batch_).sum.item<double>(), loss, 1e-5 * loss);
}

TEST_P(EncoderCase, GradientsMatchTransformers) {
  forward_loss(model_, batch_).sum.backward();
  test::expect_made_gradients(model_, golden_);
}

TEST_P(EncoderCase, PaddingChangesNothing) {
  at::NoGradGuard no_grad;
  const auto before = hidden_states(model_, batch_);
  const int64_t length = golden_["lengths"][1];
  auto other = batch_;
  other.tokens = batch_.tokens.clone();
  other.tokens[1].slice(0, length).fill_(7);
  const auto after = hidden_states(model_, other);
  EXPECT_TRUE(test::same_bits(after[0], before[0]));
  EXPECT_TRUE(test::same_bits(after[1].narrow(0, 0, length), before[1].narrow(0, 0, length)));
}

TEST_P(EncoderCase, ExportedConfigGivesTheSameModel) {
  const auto& spec = model_.spec();
  EXPECT_EQ(spec::model_spec_from_hf(spec::hf_config(spec), "again"), spec);
}

TEST(EncoderRoles, DecodersAndEncodersAreToldApart) {
  const auto bert = spec::model_spec_from_hf(cases()[0]["config"].dump(), "config");
  EXPECT_THAT([&] { Decoder decoder(bert); },
              testing::ThrowsMessage<Error>(testing::HasSubstr("bert model is an encoder")));
  const auto gpt2 = spec::model_spec_from_hf(
      R"({"model_type":"gpt2","vocab_size":97,"n_embd":36,"n_layer":2,"n_head":3,"n_positions":9})",
      "config");
  EXPECT_THAT([&] { Encoder encoder(gpt2); },
              testing::ThrowsMessage<Error>(testing::HasSubstr("gpt2 model is not an encoder")));
}

}  // namespace
}  // namespace hydrofoil::models::encoder_test
