// SPDX-License-Identifier: Apache-2.0
// Oracle: transformers on one rank (tests/models/golden/families.json).
#include "hydrofoil/parallel/tensor.h"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <gmock/gmock.h>

#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "hydrofoil/core/error.h"
#include "hydrofoil/models/program.h"
#include "hydrofoil/models/recompute.h"
#include "tests/models/made.h"
#include "tests/models/tiny.h"
#include "tests/support/ranks.h"

namespace hydrofoil::parallel::tensor_test {
namespace {

using Json = nlohmann::json;
using models::Batch;

// Decoders, then encoders.
const Json& cases() {
  static const Json all = [] {
    Json joined = Json::array();
    for (const char* file : {"/families.json", "/encoders.json"})
      for (auto& one : Json::parse(test::read_text(std::string(HYDROFOIL_GOLDEN_DIR) + file)))
        joined.push_back(std::move(one));
    return joined;
  }();
  return all;
}

Batch batch_of(const Json& golden, const spec::ModelSpec& spec) {
  Batch batch{.tokens = test::made_matrix(golden["tokens"]),
              .labels = test::made_matrix(golden["labels"])};
  if (spec.causal) return batch;
  batch.token_types = test::made_matrix(golden["token_types"]);
  batch.lengths = at::tensor(golden["lengths"].get<std::vector<int64_t>>());
  if (spec.head == spec::HeadKind::kClasses) batch.labels = batch.labels.squeeze(1);
  return batch;
}

// One rank of those that share the matrices of a family's model.
struct Part {
  Part(const comm::Communicator& g, const Json& golden, int64_t unit_elements = 0,
       int64_t mlp_rows = 0)
      : group(g),
        spec(spec::model_spec_from_hf(golden["config"].dump(), "config")),
        seam(g, spec),
        model(models::make_program(
            spec, test::made_weight,
            {.unit_elements = unit_elements, .mlp_rows = mlp_rows, .tensor = &seam})),
        batch(batch_of(golden, spec)) {
    at::set_num_threads(1);
    seam.share_gradients(*model);
  }

  double backward(bool recomputed = false) {
    auto x = model->forward(0, batch.tokens, batch);
    for (int b = 1; b + 1 < model->blocks(); ++b) {
      const auto block = [this, b](const at::Tensor& in) { return model->forward(b, in, batch); };
      x = recomputed ? models::recompute(block, x) : block(x);
    }
    const auto loss = model->loss(x, batch);
    loss.sum.backward();
    return loss.sum.item<double>();
  }

  // Of the logical tensors; what several ranks hold is the same on all, to the bit.
  std::vector<models::NamedTensor> gradients() const {
    std::vector<models::NamedTensor> whole;
    for_each_run(
        [&](const spec::ParameterSpec& p, bool replica, const auto& there, const at::Tensor& here) {
          if (whole.empty() || whole.back().name != p.name)
            whole.push_back({p.name, at::zeros(p.whole_shape())});
          if (!replica) there(whole.back().tensor).copy_(here);
        });
    for (const auto& [name, tensor] : whole)
      group.all_reduce(
          {tensor.mutable_data_ptr(), static_cast<size_t>(tensor.numel()), DType::kF32},
          comm::Reduce::kSum, {comm::Purpose::kGradients, name});
    auto at = whole.begin();
    for_each_run(
        [&](const spec::ParameterSpec& p, bool, const auto& there, const at::Tensor& here) {
          if (at->name != p.name) ++at;
          EXPECT_TRUE(there(at->tensor).equal(here)) << p.name;
        });
    return whole;
  }

  // visit(parameter, whether it is a replica, where it is in the logical tensor, the gradient).
  template <class Visit>
  void for_each_run(const Visit& visit) const {
    for (int b = 0; b < model->blocks(); ++b)
      for (size_t i = 0; i < model->parameters(b).size(); ++i) {
        const auto& p = model->parameter_specs(b)[i];
        const auto own = model->parameters(b)[i].tensor.grad().contiguous().view(-1);
        p.box.for_each_run(0, static_cast<uint64_t>(own.numel()), [&](const Box::Run& run) {
          const auto count = static_cast<int64_t>(run.count);
          const auto there = [&](const at::Tensor& whole) {
            return whole.view(-1).narrow(0, static_cast<int64_t>(run.logical), count);
          };
          visit(p, run.replica, there, own.narrow(0, static_cast<int64_t>(run.local), count));
        });
      }
  }

  const comm::Communicator group;
  const spec::ModelSpec spec;
  TensorAxis seam;
  std::unique_ptr<models::Program> model;
  Batch batch;
};

class TensorFamily : public testing::TestWithParam<size_t> {
 protected:
  const Json& golden_ = cases()[GetParam()];
  const spec::ModelSpec spec_ = spec::model_spec_from_hf(golden_["config"].dump(), "config");
};
std::string name_of(const testing::TestParamInfo<size_t>& info) {
  return cases()[info.param]["family"].get<std::string>() + "_" + std::to_string(info.index);
}
INSTANTIATE_TEST_SUITE_P(All, TensorFamily, testing::Range<size_t>(0, cases().size()), name_of);

// Heads, keys and values, feed-forwards and vocabulary of odd sizes; more ranks than keys.
TEST_P(TensorFamily, PartsGiveWhatWholeMatricesGive) {
  for (const int ranks : {2, 3, 4}) {
    if (spec::most_tensor_ranks(spec_) < ranks) continue;
    test::run_ranks(ranks, [&](const comm::Communicator& group) {
      Part part(group, golden_);
      {
        at::NoGradGuard no_grad;
        auto x = models::hidden_states(*part.model, part.batch);
        if (spec_.causal) x = x.select(1, x.size(1) - 1);
        auto logits = part.model->logits(x);
        if (logits.dim() == 3) logits = logits.select(1, 0);
        test::expect_made_rows(logits, golden_["logits"]);
      }
      const double loss = golden_["loss"];
      EXPECT_NEAR(part.backward(), loss, 1e-5 * loss);
      const auto gradients = part.gradients();
      if (group.rank() == 0) test::expect_made_gradients(gradients, golden_);
      group.barrier();
    });
  }
}

// The vocabulary in tiles, layers run again.
TEST_P(TensorFamily, SoDoTilesAndRecomputedLayers) {
  if (spec::most_tensor_ranks(spec_) < 2) return;
  test::run_ranks(2, [&](const comm::Communicator& group) {
    Part part(group, golden_, /*unit_elements=*/64);
    const double loss = golden_["loss"];
    EXPECT_NEAR(part.backward(/*recomputed=*/true), loss, 1e-5 * loss);
    const auto gradients = part.gradients();
    if (group.rank() == 0) test::expect_made_gradients(gradients, golden_);
    group.barrier();
  });
}

TEST(TensorAxis, RecomputedLayersGiveEqualBits) {
  test::run_ranks(2, [](const comm::Communicator& group) {
    Part part(group, cases()[0]);
    part.backward();
    const auto want = test::take_gradients(*part.model);
    part.backward(/*recomputed=*/true);
    const auto got = test::take_gradients(*part.model);
    for (size_t i = 0; i < want.size(); ++i) EXPECT_TRUE(test::same_bits(got[i], want[i])) << i;
    group.barrier();
  });
}

TEST(TensorAxis, FeedForwardsMayGoAFewRowsAtATime) {
  test::run_ranks(3, [](const comm::Communicator& group) {
    Part part(group, cases()[0], /*unit_elements=*/0, /*mlp_rows=*/3);
    part.backward();
    const auto gradients = part.gradients();
    if (group.rank() == 0) test::expect_made_gradients(gradients, cases()[0]);
    group.barrier();
  });
}

TEST(TensorAxis, MoreRanksThanHeadsAreRefusedWithWhatWouldDo) {
  test::run_ranks(5, [](const comm::Communicator& group) {
    try {
      Part part(group, cases()[0]);
      ADD_FAILURE() << "5 ranks share 4 heads";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::kConfig);
      EXPECT_THAT(error.line(), testing::HasSubstr("4 attention heads"));
      EXPECT_THAT(error.hint(), testing::HasSubstr("4 at most"));
    }
  });
}

TEST(TensorAxis, RanksWithOtherTokensAreNamed) {
  test::run_ranks(3, [](const comm::Communicator& group) {
    Part part(group, cases()[0]);
    if (group.rank() == 2) part.batch.tokens = part.batch.tokens.flip(1);
    try {
      part.backward();
      ADD_FAILURE() << "other tokens went unnoticed";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::kConfig);
      EXPECT_THAT(error.line(), testing::HasSubstr("rank 2 differs from rank 0 in tokens"));
    }
  });
}

}  // namespace
}  // namespace hydrofoil::parallel::tensor_test
