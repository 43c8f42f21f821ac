// SPDX-License-Identifier: Apache-2.0
// Programs on parameters whose memory comes and goes between operators (ZeRO-3, the smallest
// cache).
#include <ATen/Parallel.h>
#include <gmock/gmock.h>

#include <cstring>
#include <optional>
#include <utility>

#include "hydrofoil/memory/ledger.h"
#include "hydrofoil/memory/parameter_cache.h"
#include "hydrofoil/memory/tensor_adapter.h"
#include "hydrofoil/models/decoder.h"
#include "hydrofoil/models/product.h"
#include "hydrofoil/models/recompute.h"
#include "tests/models/tiny.h"
#include "tests/support/ranks.h"

namespace hydrofoil::models::released_test {
namespace {

// A decoder with the values of `source`, one unit a block, every unit in slices.
class Sharded {
 public:
  Sharded(const comm::Communicator& group, const Decoder& source)
      : cache_(group,
               {.partition_updates = true, .partition_parameters = true, .resident_bytes = 0},
               ledger_),
        adapter_(cache_) {
    for (int b = 0; b < source.blocks(); ++b) add_unit(b, source.parameters(b), group.size());
    publish();
    program_.emplace(source.spec(), [this, last = -1, next = size_t{0}](
                                        int block, const spec::ParameterSpec&) mutable {
      if (std::exchange(last, block) != block) next = 0;
      return adapter_.create(static_cast<memory::UnitId>(block), 0, next++);
    });
  }
  const Decoder& program() const { return *program_; }
  memory::CacheStatistics statistics() const { return cache_.statistics(); }

 private:
  void add_unit(int block, std::span<const NamedTensor> parameters, int parts) {
    std::vector<memory::TensorInfo> tensors;
    for (const auto& p : parameters) tensors.push_back({p.name, p.tensor.sizes().vec()});
    const auto unit = cache_.add_unit(std::to_string(block), {{.layout = {tensors, parts}}});
    std::byte* base = cache_.begin_edit(unit);
    for (size_t i = 0; i < parameters.size(); ++i)
      std::memcpy(base + cache_.segments(unit)[0].layout.offset(i) * sizeof(float),
                  parameters[i].tensor.const_data_ptr(), parameters[i].tensor.nbytes());
    cache_.finish_edit(unit, 0);
  }
  void publish() {  // drops the resident copies
    cache_.begin_update();
    for (memory::UnitId unit = 0; unit < cache_.units(); ++unit) cache_.publish(unit);
    cache_.end_update();
  }

  memory::Ledger ledger_;
  memory::ParameterCache cache_;
  memory::TensorAdapter adapter_;
  std::optional<Decoder> program_;
};

LossSum run(const Program& program, const Batch& batch, bool recomputed) {
  auto x = program.forward(0, batch.tokens, batch);
  for (int b = 1; b + 1 < program.blocks(); ++b) {
    const auto block = [&, b](const at::Tensor& input) { return program.forward(b, input, batch); };
    x = recomputed ? recompute(block, x) : block(x);
  }
  return program.loss(x, batch);
}

struct Case {
  const char* family;
  bool recomputed, onednn;
};
void PrintTo(const Case& c, std::ostream* out) {
  *out << c.family << (c.recomputed ? " recomputed" : "") << (c.onednn ? " oneDNN" : " MKL");
}

class Released : public testing::TestWithParam<Case> {
 protected:
  void SetUp() override { force_onednn(GetParam().onednn); }
  void TearDown() override { force_onednn(std::nullopt); }
};
INSTANTIATE_TEST_SUITE_P(All, Released,
                         testing::Values(Case{"gpt2", false, false}, Case{"gpt2", true, true},
                                         Case{"llama", false, true}, Case{"llama", true, false}));

TEST_P(Released, LossAndGradientsKeepTheirBits) {
  test::run_ranks(3, [](const comm::Communicator& group) {
    at::set_num_threads(1);
    const auto golden = test::golden_model(GetParam().family);
    const Batch batch = golden.batch(group.rank());
    const auto want_loss = run(golden.model, batch, false).sum;
    want_loss.backward();
    const auto want = test::take_gradients(golden.model);
    const Sharded sharded(group, golden.model);
    for (int pass = 0; pass < 2; ++pass) {
      const auto loss = run(sharded.program(), batch, GetParam().recomputed).sum;
      loss.backward();
      EXPECT_TRUE(test::same_bits(loss.detach(), want_loss.detach()));
      const auto got = test::take_gradients(sharded.program());
      for (size_t i = 0; i < want.size(); ++i) EXPECT_TRUE(test::same_bits(got[i], want[i])) << i;
    }
    // Forward and backward fetch every unit at least once each: memory did come and go.
    EXPECT_GT(sharded.statistics().gathers, 2 * golden.model.blocks());
    group.barrier();
  });
}

}  // namespace
}  // namespace hydrofoil::models::released_test
