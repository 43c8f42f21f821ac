// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/plan/wire_plan.h"

#include <algorithm>
#include <numeric>

#include "hydrofoil/parallel/head_shares.h"
#include "hydrofoil/plan/gathers.h"
#include "hydrofoil/spec/loss_pieces.h"

namespace hydrofoil::plan {
namespace {

std::vector<int64_t> gathers(const Model& model, const RunShape& run) {
  const int stage = run.effective_stage();
  if (stage < 3) return std::vector<int64_t>(model.units.size(), stage == 0 ? 0 : 1);
  const uint64_t budget = run.resident_bytes.value_or(smallest_resident_bytes(model, run));
  const auto [uses, times] = step_uses(model, run);
  return simulate_gathers(resident_unit_bytes(model, run), uses, times, budget).counts;
}

// What travels of an embedding, or a tile of one, whose rows do, and what does not for it. At most:
// a batch may repeat tokens. Of `vocabulary` rows all are as likely.
struct SparseRows {
  uint64_t bytes = 0, dense_bytes = 0;
};
SparseRows sparse_rows(const Unit& unit, size_t vocabulary, const RunShape& run) {
  if (!run.sparse_gradients || unit.embedding_rows == 0 || run.gradient_wire_bytes != sizeof(float))
    return {};
  const auto tokens = static_cast<uint64_t>(run.tokens_per_step());
  const auto ranks = static_cast<uint64_t>(run.ranks);
  const uint64_t rows = std::min<uint64_t>(
      unit.embedding_rows, (tokens * unit.embedding_rows + vocabulary - 1) / vocabulary);
  const uint64_t matrix = unit.embedding_rows * unit.embedding_width * sizeof(float);
  const SparseRows sparse{.bytes = (ranks - 1) * rows * (unit.embedding_width + 1) * sizeof(float),
                          .dense_bytes = 2 * (ranks - 1) * matrix / ranks};
  return sparse.bytes < sparse.dense_bytes ? sparse : SparseRows{};
}

// Of rank 0: no other has more heads or tokens. In a ring it receives least.
void plan_seam(WirePlan& plan, const Model& model, const RunShape& run) {
  if (run.sequence_ranks == 1 || !model.spec) return;
  const spec::ModelSpec& s = *model.spec;
  const auto once = parallel::seam_traffic({.heads = s.heads,
                                            .kv_heads = s.kv_heads,
                                            .head_dim = s.head_dim,
                                            .length = run.sequence_length,
                                            .ranks = run.sequence_ranks},
                                           0);
  const auto times = static_cast<uint64_t>(model.layers() * run.micro_batch * run.accumulation);
  const auto bytes = [&](int64_t elements, size_t each) {
    return times * static_cast<uint64_t>(elements) * each;
  };
  const int64_t forwards = run.recompute ? 2 : 1;
  const size_t element = run.linear ? run.linear->compute : run.compute_bytes;
  plan.all_to_all = bytes(forwards * once.exchanged + once.exchanged_back, element);
  plan.passed =
      bytes((forwards + 1) * once.passed, element) + bytes(once.passed_gradients, sizeof(float));
}

// What an all-reduce of so many elements brings a rank.
uint64_t sum_bytes(int64_t elements, size_t each, int ranks) {
  return 2 * static_cast<uint64_t>(ranks - 1) * static_cast<uint64_t>(elements) * each /
         static_cast<uint64_t>(ranks);
}

// Of the matrices that ranks share, an element of what products give, and of all else.
struct SumWidths {
  size_t product, wide;
};

// In one layer, once: hidden states and their gradients; gradients of norms of heads, and of keys
// and values that several ranks hold.
uint64_t layer_sums(const Model& model, const RunShape& run, int64_t tokens, SumWidths widths) {
  const spec::ModelSpec& s = *model.spec;
  const int64_t hidden = tokens * s.hidden_size;
  const uint64_t forwards = run.recompute ? 2 : 1;
  uint64_t bytes = 2 * (forwards * sum_bytes(hidden, widths.product, run.tensor_ranks) +
                        sum_bytes(hidden, widths.wide, run.tensor_ranks));
  if (s.qk_norm) bytes += 2 * sum_bytes(s.head_dim, widths.wide, run.tensor_ranks);
  const int64_t times = s.fused_qkv ? 1 : 2, rows = 2 / times * s.head_dim;
  const int64_t biases = s.attention_bias || s.qkv_bias ? rows : 0;
  for (const int64_t elements : {rows * s.hidden_size, biases})
    bytes += static_cast<uint64_t>(times) * sum_bytes(elements, widths.product, model.kv_ranks);
  return bytes;
}

// In one loss: of every token the largest logit, the sum of exponentials and the label's logit.
// Labels are taken to be everywhere.
uint64_t loss_sums(const Model& model, const RunShape& run, int64_t tokens) {
  uint64_t bytes = 0;
  const int64_t step = model.tiled_head ? tokens : spec::loss_rows(tokens, model.spec->vocab_size);
  for (int64_t begin = 0; begin < tokens; begin += step)
    for (const int64_t numbers : {1, 2})
      bytes += sum_bytes(numbers * std::min(step, tokens - begin), sizeof(float), run.tensor_ranks);
  return bytes;
}

// Of rank 0, where ranks share matrices.
void plan_sums(WirePlan& plan, const Model& model, const RunShape& run) {
  if (run.tensor_ranks == 1 || !model.spec) return;
  const spec::ModelSpec& s = *model.spec;
  const SumWidths widths{run.linear ? run.linear->compute : run.compute_bytes, run.compute_bytes};
  const int64_t tokens = run.micro_batch * run.part_length();
  const size_t at_head = s.token_size() == s.hidden_size ? widths.wide : widths.product;
  uint64_t bytes = static_cast<uint64_t>(model.layers()) * layer_sums(model, run, tokens, widths);
  if (model.holds(0)) bytes += sum_bytes(tokens * s.token_size(), widths.wide, run.tensor_ranks);
  if (model.has_head())
    bytes += sum_bytes(tokens * s.token_size(), at_head, run.tensor_ranks) +
             loss_sums(model, run, tokens);
  plan.sums = static_cast<uint64_t>(run.accumulation) * bytes;
}

void plan_stages(WirePlan& plan, const Model& model, const RunShape& run) {
  const auto& choice = run.pipeline;
  if (choice.stages == 1) return;
  uint64_t messages = 0;  // of one micro-batch
  for (int link = run.pipeline_stage; link < choice.links(); link += choice.stages)
    messages += (link > 0 ? 1 : 0) + (link + 1 < choice.links() ? 1 : 0);
  plan.messages = messages * static_cast<uint64_t>(run.accumulation) * message_bytes(model, run);
}

// Its gradient, of what this rank updates of it: two ranks swap halves of their sum.
uint64_t twin_bytes(const Unit& unit, const UnitSize& size, const RunShape& run) {
  uint64_t elements = 0;
  for (const auto& segment : size.segments) elements += segment.own(run);
  return unit.has_twin ? elements * run.gradient_bytes : 0;
}

}  // namespace

monitor::NamedBytes WirePlan::by_operation() const {
  monitor::NamedBytes result;
  if (all_reduce + sums + twins) result.emplace_back("all_reduce", all_reduce + sums + twins);
  if (all_gather) result.emplace_back("all_gather", all_gather);
  if (reduce_scatter) result.emplace_back("reduce_scatter", reduce_scatter);
  if (read) result.emplace_back("read", read);
  if (all_to_all) result.emplace_back("all_to_all", all_to_all);
  if (passed + messages) result.emplace_back("recv", passed + messages);
  return result;
}

WirePlan plan_wire(const Model& model, const RunShape& run) {
  const int stage = run.effective_stage();
  const auto peers = static_cast<uint64_t>(run.ranks - 1);
  const auto reductions = static_cast<uint64_t>(run.reduces_each() ? run.accumulation : 1);
  WirePlan plan{.gathers = gathers(model, run)};
  size_t vocabulary = 0;
  for (const auto& unit : model.units) vocabulary += unit.embedding_rows;
  double payload = 0;  // bytes, a fraction: what would travel without padding
  const auto sizes = unit_sizes(model, run);
  for (size_t u = 0; u < sizes.size(); ++u) {
    const uint64_t gradients = peers * sizes[u].slice_bytes(&ElementBytes::gradient_wire);
    const uint64_t parameters = peers * sizes[u].slice_bytes(&ElementBytes::parameter);
    const auto times = static_cast<uint64_t>(plan.gathers[u]);
    const uint64_t before = plan.total();
    if (stage == 0) {
      const SparseRows rows = sparse_rows(model.units[u], vocabulary, run);
      plan.all_reduce += 2 * gradients - rows.dense_bytes;
      plan.all_gather += rows.bytes;
    } else {
      const uint64_t parts = stage >= 2 && model.units[u].reduced_twice ? 2 : 1;
      plan.reduce_scatter += parts * reductions * gradients;
    }
    plan.twins += twin_bytes(model.units[u], sizes[u], run);
    // What lies in files is not sent: peers read it there.
    if (!run.parameter_files) plan.read += times * parameters;
    const auto& numels = model.units[u].numels;
    const double own =
        static_cast<double>(std::accumulate(numels.begin(), numels.end(), size_t{0}));
    payload += static_cast<double>(plan.total() - before) * own /
               static_cast<double>(sizes[u].numel ? sizes[u].numel : 1);
  }
  plan.padding = plan.total() - static_cast<uint64_t>(payload);
  plan_seam(plan, model, run);
  plan_sums(plan, model, run);
  plan_stages(plan, model, run);
  return plan;
}

uint64_t message_bytes(const Model& stage, const RunShape& run) {
  if (run.pipeline.stages == 1) return 0;
  return static_cast<uint64_t>(run.micro_batch * run.part_length() * stage.spec->hidden_size) *
         run.compute_bytes;
}

}  // namespace hydrofoil::plan
