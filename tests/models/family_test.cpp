// SPDX-License-Identifier: Apache-2.0
// Oracle: transformers, on random tiny models of every family (golden/families.json, made by
// make_families.py).
#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <gmock/gmock.h>

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "hydrofoil/models/decoder.h"
#include "tests/models/made.h"
#include "tests/models/tiny.h"

namespace hydrofoil::models::family_test {
namespace {

using Json = nlohmann::json;

const Json& cases() {
  static const Json all =
      Json::parse(test::read_text(std::string(HYDROFOIL_GOLDEN_DIR) + "/families.json"));
  return all;
}

class Family : public testing::TestWithParam<size_t> {
 protected:
  const Json& golden_ = cases()[GetParam()];
  Decoder model_{spec::model_spec_from_hf(golden_["config"].dump(), "config"), test::made_weight};
  Batch batch_{test::made_matrix(golden_["tokens"]), test::made_matrix(golden_["labels"])};
};

std::string name_of(const testing::TestParamInfo<size_t>& info) {
  return cases()[info.param]["family"].get<std::string>() + "_" + std::to_string(info.index);
}
INSTANTIATE_TEST_SUITE_P(All, Family, testing::Range<size_t>(0, cases().size()), name_of);

TEST_P(Family, LogitsAndLossMatchTransformers) {
  const auto x = hidden_states(model_, batch_);
  const auto last = model_.logits(x.select(1, x.size(1) - 1));
  test::expect_made_rows(last, golden_["logits"]);
  const double loss = golden_["loss"];
  EXPECT_NEAR(model_.loss(x, batch_).sum.item<double>(), loss, 1e-5 * loss);
}

TEST_P(Family, GradientsMatchTransformers) {
  forward_loss(model_, batch_).sum.backward();
  test::expect_made_gradients(model_, golden_);
}

TEST_P(Family, ExportedConfigGivesTheSameModel) {
  const auto& spec = model_.spec();
  EXPECT_EQ(spec::model_spec_from_hf(spec::hf_config(spec), "again"), spec);
}

}  // namespace
}  // namespace hydrofoil::models::family_test
