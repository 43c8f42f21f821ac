// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/plan/links.h"

#include <algorithm>
#include <numeric>

#include "hydrofoil/plan/wire_plan.h"
#include "hydrofoil/spec/loss_pieces.h"

namespace hydrofoil::plan {
namespace {

// Calls that a layer makes forward, and as many backward; recomputed, forward once more.
constexpr double kCallsOfALayer = 2;

double passes_of(const Model& stage, const RunShape& run) {
  return static_cast<double>(stage.layers() * run.accumulation) * (run.recompute ? 3 : 2);
}

// Of what a layer exchanges forward and backward; its second forward belongs to backward.
double forward_share(const RunShape& run) {
  return run.recompute ? 1.0 / 3 : 1.0 / 2;
}

Exchange tensor_exchange(const Model& stage, const RunShape& run, const WirePlan& wire) {
  const int64_t tokens = run.micro_batch * run.part_length();
  const int64_t rows = stage.tiled_head ? tokens : spec::loss_rows(tokens, stage.spec->vocab_size);
  const auto chunks = static_cast<double>((tokens + rows - 1) / rows);
  const double ends = (stage.holds(0) ? 1 : 0) + (stage.has_head() ? 1 + 2 * chunks : 0);
  return {.axes = mesh::kTp,
          .bytes = static_cast<double>(wire.sums),
          .calls =
              kCallsOfALayer * passes_of(stage, run) + ends * static_cast<double>(run.accumulation),
          .forward = forward_share(run)};
}

void add_sequence(std::vector<Exchange>& list, const Model& stage, const RunShape& run,
                  const WirePlan& wire) {
  const double forward = forward_share(run), calls = passes_of(stage, run);
  list.push_back({.axes = mesh::kSp,
                  .route = Route::kDirect,
                  .bytes = static_cast<double>(wire.all_to_all),
                  .calls = wire.all_to_all > 0 ? kCallsOfALayer * calls : 0,
                  .forward = forward});
  list.push_back({.axes = mesh::kSp,
                  .bytes = static_cast<double>(wire.passed),
                  .calls = wire.passed > 0 ? (run.sequence_ranks - 1) * calls : 0,
                  .forward = forward});
}

// What ZeRO reduces and gathers, unit by unit.
void add_zero(std::vector<Exchange>& list, const Model& stage, const RunShape& run,
              const WirePlan& wire) {
  const auto units = static_cast<double>(stage.units.size());
  const bool each = run.reduces_each();
  list.push_back(
      {.axes = mesh::kDp | mesh::kSp,
       .when = each ? When::kPasses : When::kBeforeUpdate,
       .bytes = static_cast<double>(wire.all_reduce + wire.all_gather + wire.reduce_scatter),
       .calls = units * (each ? static_cast<double>(run.accumulation) : 1)});
  list.push_back({.axes = mesh::kDp | mesh::kSp,
                  .route = Route::kRead,
                  .when = run.effective_stage() == 3 ? When::kPasses : When::kAfterUpdate,
                  .bytes = static_cast<double>(wire.read),
                  .calls = static_cast<double>(
                      std::accumulate(wire.gathers.begin(), wire.gathers.end(), int64_t{0})),
                  .forward = forward_share(run)});
}

}  // namespace

std::vector<Exchange> exchanges_of(const Model& stage, const RunShape& run) {
  const WirePlan wire = plan_wire(stage, run);
  std::vector<Exchange> list;
  if (run.tensor_ranks > 1 && stage.spec) list.push_back(tensor_exchange(stage, run, wire));
  if (run.sequence_ranks > 1 && stage.spec) add_sequence(list, stage, run, wire);
  if (run.ranks > 1) add_zero(list, stage, run, wire);
  if (wire.twins > 0)
    list.push_back({.axes = mesh::kPp,
                    .when = When::kBeforeUpdate,
                    .bytes = static_cast<double>(wire.twins),
                    .calls = 1});
  return list;
}

Links::Links(const RunShape& run, const Machine& machine)
    : machine_(machine),
      mesh_(run.mesh(), run.all_ranks()),
      ranks_per_host_(machine.ranks_per_host > 0 ? machine.ranks_per_host : run.all_ranks()),
      tensor_(spread(mesh::kTp)),
      sequence_(spread(mesh::kSp)),
      zero_(spread(mesh::kDp | mesh::kSp)),
      ends_{2, crosses(0, run.pipeline.stages - 1) ? 2 : 1} {}

Links::Spread Links::spread(mesh::Axes axes) const {
  Spread result{.ranks = mesh_.extent(axes)};
  if (result.ranks == 1) return result;
  struct Hosts {
    int last = -1, count = 0;
  };
  std::vector<Hosts> groups(static_cast<size_t>(mesh_.ranks() / result.ranks));
  for (int rank = 0; rank < mesh_.ranks(); ++rank) {
    auto& [last, count] = groups[static_cast<size_t>(mesh_.group_index(rank, axes))];
    const int host = rank / ranks_per_host_;
    if (host == last) continue;
    last = host;
    result.hosts = std::max(result.hosts, ++count);
  }
  return result;
}

bool Links::crosses(int from, int to) const {
  const int stage = mesh_.ranks() / mesh_.extent(mesh::kPp);
  for (int rank = 0; rank < stage; ++rank)
    if ((from * stage + rank) / ranks_per_host_ != (to * stage + rank) / ranks_per_host_)
      return true;
  return false;
}

const Links::Spread& Links::spread_of(const Exchange& exchange) const {
  switch (exchange.axes) {
    case mesh::kTp:
      return tensor_;
    case mesh::kSp:
      return sequence_;
    case mesh::kPp:
      return ends_;
    default:
      return zero_;
  }
}

LinkBytes Links::bytes(const Exchange& exchange) const {
  const auto [ranks, hosts] = spread_of(exchange);
  if (ranks == 1) return {};
  const double each = exchange.route == Route::kRing ? 1 : static_cast<double>(ranks) / hosts;
  const double between = exchange.bytes * each * (hosts - 1) / (ranks - 1);
  return {.inside = exchange.bytes - between, .between = between};
}

double Links::between(double bytes) const {
  return seconds_at(bytes, machine_.between_bytes_per_second > 0 ? machine_.between_bytes_per_second
                                                                 : machine_.wire_bytes_per_second);
}

double Links::seconds(const Exchange& exchange) const {
  const LinkBytes bytes_of = bytes(exchange);
  const bool reads = exchange.route == Route::kRead && machine_.gather_bytes_per_second > 0;
  const double inside = seconds_at(
      bytes_of.inside, reads ? machine_.gather_bytes_per_second : machine_.wire_bytes_per_second);
  const int hops = spread_of(exchange).hosts - 1;
  return inside + between(bytes_of.between) +
         exchange.calls * (machine_.call_seconds + hops * machine_.between_seconds);
}

double Links::message_seconds(int from, int to, double bytes) const {
  return crosses(from, to)
             ? between(bytes) + machine_.between_seconds
             : seconds_at(bytes, machine_.wire_bytes_per_second) + machine_.call_seconds;
}

LinkBytes link_bytes(const Model& stage, const RunShape& run, const Links& links) {
  LinkBytes sum;
  for (const Exchange& exchange : exchanges_of(stage, run)) {
    const LinkBytes more = links.bytes(exchange);
    sum.inside += more.inside, sum.between += more.between;
  }
  const int stages = run.pipeline.stages, at = run.pipeline_stage;
  const auto all =
      static_cast<double>(run.accumulation) * static_cast<double>(message_bytes(stage, run));
  for (int link = at; stages > 1 && link < run.pipeline.links(); link += stages)
    for (const int step : {-1, 1}) {
      if (link + step < 0 || link + step == run.pipeline.links()) continue;
      (links.crosses(at, (at + step + stages) % stages) ? sum.between : sum.inside) += all;
    }
  return sum;
}

}  // namespace hydrofoil::plan
