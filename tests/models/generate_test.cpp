// SPDX-License-Identifier: Apache-2.0
// Oracle: Hugging Face's generate (golden/), and full-context forward passes.
#include "hydrofoil/models/generate.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <gmock/gmock.h>

#include <cmath>
#include <limits>

#include "hydrofoil/core/error.h"
#include "tests/models/tiny.h"

namespace hydrofoil::models {
namespace {

using testing::ElementsAreArray;
using testing::HasSubstr;
using testing::ThrowsMessage;

class Generate : public testing::TestWithParam<const char*> {
 protected:
  test::GoldenModel golden_ = test::golden_model(GetParam());
  std::vector<int64_t> sequence_ = golden_.run.at("greedy").values<int64_t>();  // 5 + 12 tokens
  std::vector<int64_t> prompt_{sequence_.begin(), sequence_.begin() + 5};
  std::vector<int64_t> continued_{sequence_.begin() + 5, sequence_.end()};
};
INSTANTIATE_TEST_SUITE_P(Families, Generate, testing::Values("gpt2", "llama"));

TEST_P(Generate, GreedyContinuesAsHuggingFaceDoes) {
  const auto out = generate(golden_.model, prompt_, {.max_tokens = 12});
  EXPECT_THAT(out.tokens, ElementsAreArray(continued_));
  EXPECT_EQ(out.finish, Finish::kLength);
  EXPECT_TRUE(out.logits.empty());
}

TEST_P(Generate, StopsBeforeAStopToken) {
  size_t at = 0;  // of the first appearance of the last token
  while (continued_[at] != continued_.back()) ++at;
  const auto out =
      generate(golden_.model, prompt_, {.max_tokens = 12, .stop_tokens = {1000, continued_[at]}});
  EXPECT_THAT(out.tokens, ElementsAreArray(continued_.begin(), continued_.begin() + at));
  EXPECT_EQ(out.finish, Finish::kStop);
}

TEST_P(Generate, EndsWithTheModelsPositions) {
  const auto out = generate(golden_.model, prompt_, {.max_tokens = 1000});
  EXPECT_EQ(out.tokens.size() + prompt_.size(), 23u);
  EXPECT_EQ(out.finish, Finish::kLength);
}

TEST_P(Generate, ReportsTheLargestLogitsOfEachPosition) {
  const auto out = generate(golden_.model, prompt_, {.max_tokens = 12, .logits = 3});
  ASSERT_EQ(out.logits.size(), 16u);  // 5 of the prompt, 11 of what follows
  for (size_t i = 4; i < 16; ++i) EXPECT_EQ(out.logits[i][0].token, sequence_[i + 1]) << i;
  const auto rows = test::to_tensor(golden_.run.at("logits"));  // of other tokens after position 4
  for (int64_t i = 0; i < 5; ++i) {
    const auto row = rows[0][i];
    EXPECT_NEAR(out.logits[i][0].logit, row.max().item<float>(), 1e-4);
    EXPECT_EQ(out.logits[i][0].token, row.argmax().item<int64_t>());
    EXPECT_GE(out.logits[i][0].logit, out.logits[i][1].logit);
    EXPECT_GE(out.logits[i][1].logit, out.logits[i][2].logit);
  }
}

TEST_P(Generate, SamplingFollowsTheProbabilities) {
  const GenerateOptions hot{.max_tokens = 1, .temperature = 1.5, .top_k = 5, .logits = 5};
  const auto top = generate(golden_.model, prompt_, hot).logits.back();
  std::vector<double> expected;
  double total = 0;
  for (const auto& t : top) total += expected.emplace_back(std::exp(t.logit / 1.5));
  constexpr int kDraws = 400;
  std::vector<int> seen(5);
  for (uint64_t seed = 0; seed < kDraws; ++seed) {
    auto options = hot;
    options.seed = seed, options.logits = 0;
    const auto token = generate(golden_.model, prompt_, options).tokens.at(0);
    const auto hit =
        std::find_if(top.begin(), top.end(), [&](const auto& t) { return t.token == token; });
    ASSERT_NE(hit, top.end()) << "outside the top k";
    ++seen[hit - top.begin()];
  }
  double chi_square = 0;  // 4 degrees of freedom: 18.5 is the 0.1 % level
  for (size_t i = 0; i < 5; ++i) {
    const double want = kDraws * expected[i] / total;
    chi_square += (seen[i] - want) * (seen[i] - want) / want;
  }
  EXPECT_LT(chi_square, 18.5);
}

TEST_P(Generate, SameSeedSameTokens) {
  const GenerateOptions options{.max_tokens = 12, .temperature = 2, .seed = 5};
  auto other = options;
  other.seed = 6;
  const auto first = generate(golden_.model, prompt_, options).tokens;
  EXPECT_EQ(first, generate(golden_.model, prompt_, options).tokens);
  EXPECT_NE(first, generate(golden_.model, prompt_, other).tokens);
}

TEST_P(Generate, RefusesBadPrompts) {
  const auto run = [&](std::vector<int64_t> prompt) {
    return [this, prompt = std::move(prompt)] { generate(golden_.model, prompt); };
  };
  EXPECT_THAT(run({}), ThrowsMessage<Error>(HasSubstr("no tokens")));
  EXPECT_THAT(run({1, 97}), ThrowsMessage<Error>(HasSubstr("token 97")));
  EXPECT_THAT(run({-1}), ThrowsMessage<Error>(HasSubstr("token -1")));
  EXPECT_THAT(run(std::vector<int64_t>(24)), ThrowsMessage<Error>(HasSubstr("24 tokens")));
}

TEST_P(Generate, NamesThePositionOfANonFiniteLogit) {
  at::NoGradGuard no_grad;
  golden_.model.parameters(1)[0].tensor.fill_(std::numeric_limits<float>::quiet_NaN());
  EXPECT_THAT([&] { generate(golden_.model, prompt_); },
              ThrowsMessage<Error>(HasSubstr("position 4")));
}

}  // namespace
}  // namespace hydrofoil::models
