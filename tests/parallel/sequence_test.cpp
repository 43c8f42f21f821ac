// SPDX-License-Identifier: Apache-2.0
// Oracle: transformers on whole sequences (tests/models/golden/families.json).
#include "hydrofoil/parallel/sequence.h"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <gmock/gmock.h>

#include <nlohmann/json.hpp>
#include <string>

#include "hydrofoil/comm/meter.h"
#include "hydrofoil/core/error.h"
#include "hydrofoil/models/decoder.h"
#include "hydrofoil/models/recompute.h"
#include "hydrofoil/parallel/head_shares.h"
#include "tests/models/made.h"
#include "tests/models/tiny.h"
#include "tests/support/ranks.h"

namespace hydrofoil::parallel::sequence_test {
namespace {

using Json = nlohmann::json;
using models::Batch;
using models::Decoder;

const Json& cases() {
  static const Json all =
      Json::parse(test::read_text(std::string(HYDROFOIL_GOLDEN_DIR) + "/families.json"));
  return all;
}

// One rank of those that share the sequences of a family's batch.
struct Part {
  // ring: of the ranks; 0: as large as it must be.
  Part(const comm::Communicator& g, const Json& golden, int ring = 0)
      : group(g),
        spec(spec::model_spec_from_hf(golden["config"].dump(), "config")),
        seam(g, ring > 0 ? ring : ring_size(spec.heads, g.size())),
        model(spec, test::made_weight, {.sequence = &seam}),
        batch(part_of({test::made_matrix(golden["tokens"]), test::made_matrix(golden["labels"])},
                      g.rank(), g.size())) {
    at::set_num_threads(1);
  }

  // Over all ranks, and so the gradients.
  double backward(bool recomputed = false) {
    auto x = model.forward(0, batch.tokens, batch);
    for (int b = 1; b + 1 < model.blocks(); ++b) {
      const auto block = [this, b](const at::Tensor& in) { return model.forward(b, in, batch); };
      x = recomputed ? models::recompute(block, x) : block(x);
    }
    const auto loss = model.loss(x, batch);
    loss.sum.backward();
    for (const auto& p : test::all_parameters(model))
      group.all_reduce(
          {p.tensor.grad().mutable_data_ptr(), static_cast<size_t>(p.tensor.numel()), DType::kF32},
          comm::Reduce::kSum, {comm::Purpose::kGradients, p.name});
    auto sum = loss.sum.item<double>();
    group.all_reduce({&sum, 1, DType::kF64}, comm::Reduce::kSum, {comm::Purpose::kLoss, "loss"});
    return sum;
  }

  const comm::Communicator group;
  const spec::ModelSpec spec;
  SequenceAxis seam;
  Decoder model;
  Batch batch;
};

class Family : public testing::TestWithParam<size_t> {
 protected:
  const Json& golden_ = cases()[GetParam()];
  const spec::ModelSpec spec_ = spec::model_spec_from_hf(golden_["config"].dump(), "config");
  const bool plain_ = spec_.positions != spec::Positions::kAlibi && spec_.sliding_window == 0 &&
                      spec_.attention_softcap == 0;

  // `ring` of the ranks pass keys and values on, the others exchange heads.
  void expect_golden(int ranks, int ring) const {
    test::run_ranks(ranks, [&](const comm::Communicator& group) {
      Part part(group, golden_, ring);
      {
        at::NoGradGuard no_grad;
        const auto x = models::hidden_states(part.model, part.batch);
        const auto last = part.model.logits(x.select(1, x.size(1) - 1));
        if (group.rank() + 1 == ranks) test::expect_made_rows(last, golden_["logits"]);
      }
      const double loss = golden_["loss"];
      EXPECT_NEAR(part.backward(), loss, 1e-5 * loss);
      if (group.rank() == 0) test::expect_made_gradients(part.model, golden_);
      group.barrier();
    });
  }
};
std::string name_of(const testing::TestParamInfo<size_t>& info) {
  return cases()[info.param]["family"].get<std::string>() + "_" + std::to_string(info.index);
}
INSTANTIATE_TEST_SUITE_P(All, Family, testing::Range<size_t>(0, cases().size()), name_of);

TEST_P(Family, PartsGiveWhatWholeSequencesGive) {
  for (const int ranks : {2, 3})
    if (spec_.heads >= ranks) expect_golden(ranks, 1);
}

TEST_P(Family, KeysMayGoRoundWhereAttentionIsPlain) {
  if (!plain_) {
    EXPECT_THROW(expect_golden(2, 2), Error);
    return;
  }
  expect_golden(2, 2);
  expect_golden(3, 3);
  if (spec_.heads >= 2) expect_golden(4, 2);
}

// Of every layer: queries, keys and values of the neighbours' tokens, and the neighbours' heads;
// what goes round.
TEST_P(Family, TrafficIsAsPlanned) {
  const int ranks = spec_.heads == 1 ? 3 : 2;
  if (spec_.heads == 1 && !plain_) return;
  test::run_ranks(ranks, [&](const comm::Communicator& group) {
    Part part(group, golden_);
    const int64_t length = part.batch.part.length, rows = part.batch.tokens.size(0);
    const auto once = seam_traffic({.heads = spec_.heads,
                                    .kv_heads = spec_.kv_heads,
                                    .head_dim = spec_.head_dim,
                                    .length = length,
                                    .ranks = ranks},
                                   group.rank());
    const auto received = [&](comm::Operation op) {
      const auto used = group.meter().snapshot();
      return static_cast<int64_t>(used.of(op, comm::Purpose::kActivations).bytes);
    };
    const int64_t element = rows * spec_.layers * static_cast<int64_t>(sizeof(float));
    const int64_t back = once.passed + once.passed_gradients;
    part.backward();
    EXPECT_EQ(received(comm::Operation::kAllToAll),
              element * (once.exchanged + once.exchanged_back));
    EXPECT_EQ(received(comm::Operation::kRecv), element * (once.passed + back));
    part.backward(/*recomputed=*/true);
    EXPECT_EQ(received(comm::Operation::kAllToAll),
              element * (3 * once.exchanged + 2 * once.exchanged_back));
    EXPECT_EQ(received(comm::Operation::kRecv), element * (3 * once.passed + 2 * back));
    group.barrier();
  });
}

TEST(SequenceAxis, RecomputedLayersGiveEqualBits) {
  for (const int ring : {1, 3})
    test::run_ranks(3, [ring](const comm::Communicator& group) {
      Part part(group, cases()[0], ring);
      part.backward();
      const auto want = test::take_gradients(part.model);
      part.backward(/*recomputed=*/true);
      const auto got = test::take_gradients(part.model);
      for (size_t i = 0; i < want.size(); ++i) EXPECT_TRUE(test::same_bits(got[i], want[i])) << i;
      group.barrier();
    });
}

// The end of a text may be shorter than there are ranks: some have no token of it.
TEST(SequenceAxis, SequencesMayBeShorterThanTheRanksAreMany) {
  const auto config = cases()[0]["config"].dump();
  const Batch whole{test::made_matrix({{5}, {7}}), test::made_matrix({{1}, {2}})};
  const Decoder alone(spec::model_spec_from_hf(config, "config"), test::made_weight);
  const double want = models::forward_loss(alone, whole).sum.item<double>();
  for (const int ring : {1, 2})
    test::run_ranks(2, [&](const comm::Communicator& group) {
      Part part(group, cases()[0], ring);
      part.batch = part_of(whole, group.rank(), group.size());
      EXPECT_EQ(part.batch.tokens.size(1), group.rank() == 0 ? 1 : 0);
      const double loss = part.backward();
      EXPECT_NEAR(loss, want, 1e-6 * want);
      group.barrier();
    });
}

}  // namespace
}  // namespace hydrofoil::parallel::sequence_test
