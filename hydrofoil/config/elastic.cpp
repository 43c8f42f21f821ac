// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/config/elastic.h"

#include <algorithm>
#include <array>
#include <numeric>
#include <optional>
#include <set>
#include <string>

#include "hydrofoil/core/error.h"

namespace hydrofoil::config {
namespace {

constexpr const char* kWhere = "elasticity";

// Numbers with more divisors than any smaller one.
constexpr std::array<int64_t, 38> kHighlyComposite{
    1,      2,      4,      6,      12,     24,     36,     48,    60,    120,
    180,    240,    360,    720,    840,    1260,   1680,   2520,  5040,  7560,
    10080,  15120,  20160,  25200,  27720,  45360,  50400,  55440, 83160, 110880,
    166320, 221760, 277200, 332640, 498960, 554400, 665280, 720720};

struct Limits {
  int64_t batch, least, most;  // largest batch; numbers of groups of ranks
};

std::set<int64_t> candidates(const std::vector<int64_t>& micros, int64_t largest) {
  std::vector<int64_t> bases = micros;
  bases.push_back(std::accumulate(micros.begin(), micros.end(), int64_t{1},
                                  [](int64_t a, int64_t b) { return std::lcm(a, b); }));
  std::set<int64_t> batches;
  for (const int64_t base : bases) {
    if (base > largest) continue;  // the least common multiple may be
    const auto above = std::ranges::upper_bound(kHighlyComposite, largest / base);
    batches.insert(*std::prev(above) * base);
  }
  return batches;
}

std::set<int64_t> dividing(int64_t batch, const std::vector<int64_t>& micros, const Limits& in) {
  std::set<int64_t> counts;
  for (const int64_t micro : micros) {
    if (batch % micro != 0) continue;
    const int64_t share = batch / micro;
    for (int64_t count = in.least; count <= std::min(in.most, share); ++count)
      if (share % count == 0) counts.insert(count);
  }
  return counts;
}

ElasticTable best(const ElasticityConfig& config, const Limits& limits) {
  const auto& micros = config.micro_batch_sizes;
  if (std::ranges::max(micros) > limits.batch)
    throw Error(ExitCode::kConfig,
                "a micro-batch of " + std::to_string(std::ranges::max(micros)) +
                    " sequences is above the largest batch of " + std::to_string(limits.batch),
                kWhere, "raise max_train_batch_size, or leave that micro-batch size out");
  ElasticTable table{.train_batch_size = std::ranges::min(micros), .ranks = {}};
  for (const int64_t batch : candidates(micros, limits.batch)) {
    const auto counts = dividing(batch, micros, limits);
    const bool beyond = config.prefer_larger_batch ? batch > table.train_batch_size
                                                   : batch < table.train_batch_size;
    if (counts.size() < table.ranks.size() || (counts.size() == table.ranks.size() && !beyond))
      continue;
    table = {batch, {counts.begin(), counts.end()}};
  }
  return table;
}

bool counts_nodes(const ElasticityConfig& config) {
  return config.version > 0.15;  // 0.2
}

// Data-parallel ranks of a node.
int64_t node_ranks(const ElasticityConfig& config) {
  if (config.num_gpus_per_node % config.model_parallel_size != 0)
    throw Error(ExitCode::kConfig,
                "a node of " + std::to_string(config.num_gpus_per_node) +
                    " ranks is not a multiple of model_parallel_size " +
                    std::to_string(config.model_parallel_size),
                kWhere, "change one of the two");
  return config.num_gpus_per_node / config.model_parallel_size;
}

std::optional<int64_t> largest_micro(const ElasticityConfig& config, int64_t share) {
  std::optional<int64_t> found;
  for (const int64_t micro : config.micro_batch_sizes)
    if (share % micro == 0 && (!found || micro > *found)) found = micro;
  return found;
}

}  // namespace

void ElasticityConfig::visit(Reader& f) {
  f.field({.name = "enabled", .help = "choose the batch so that many numbers of ranks divide it"},
          enabled);
  const std::string off = enabled ? "" : "elasticity is off";
  f.field({.name = "max_train_batch_size",
           .help = "the batch is at most this",
           .unit = "sequences",
           .min = 1,
           .max = 1 << 30,
           .idle = off},
          max_train_batch_size);
  f.field({.name = "micro_batch_sizes",
           .help = "micro-batches that ranks may use",
           .unit = "sequences",
           .min = 1,
           .max = 1 << 20,
           .idle = off},
          micro_batch_sizes);
  f.field({.name = "min_gpus", .help = "fewest ranks", .unit = "ranks", .min = 1, .idle = off},
          min_gpus);
  f.field({.name = "max_gpus",
           .help = "most ranks",
           .unit = "ranks",
           .min = 1,
           .max = 1 << 20,
           .idle = off},
          max_gpus);
  f.unstored({.name = "min_time",
              .unit = "minutes",
              .status = Status::kNoEffect,
              .why = "of schedulers: whoever starts the run decides when it is worth it"},
             "0");
  f.field({.name = "version",
           .help = "0.1: counts ranks; 0.2: whole nodes",
           .min = 0,
           .max = 0.2,
           .idle = off},
          version);
  f.field({.name = "prefer_larger_batch",
           .help = "of batches with equally many numbers of ranks, take the larger",
           .idle = off},
          prefer_larger_batch);
  f.field({.name = "ignore_non_elastic_batch_info",
           .help = "let the batch keys stand in the file without meaning",
           .idle = off},
          ignore_non_elastic_batch_info);
  visit_nodes(f, off);
}

void ElasticityConfig::visit_nodes(Reader& f, const std::string& off) {
  const std::string nodes = !off.empty() ? off : version < 0.15 ? "of version 0.2" : "";
  f.field({.name = "num_gpus_per_node",
           .help = "ranks of a node",
           .unit = "ranks",
           .min = 1,
           .max = 1 << 20,
           .idle = nodes},
          num_gpus_per_node);
  f.field({.name = "model_parallel_size",
           .help = "ranks that share one copy of the model",
           .unit = "ranks",
           .min = 1,
           .max = 1 << 20,
           .idle = nodes},
          model_parallel_size);
}

std::string ElasticTable::ranks_text() const {
  std::string text;
  for (const int64_t n : ranks) text += (text.empty() ? "" : ", ") + std::to_string(n);
  return text.empty() ? "no number of ranks" : text + " ranks";
}

ElasticTable elastic_table(const ElasticityConfig& config) {
  if (!counts_nodes(config)) {
    const int64_t least_micro = std::ranges::min(config.micro_batch_sizes);
    const int64_t most = std::min(config.max_gpus, config.max_train_batch_size / least_micro);
    return best(config, {config.max_train_batch_size, config.min_gpus, most});
  }
  const int64_t node = node_ranks(config);
  auto table = best(config, {config.max_train_batch_size / node,
                             std::max<int64_t>(1, config.min_gpus / config.num_gpus_per_node),
                             config.max_gpus / config.num_gpus_per_node});
  table.train_batch_size *= node;
  for (int64_t& ranks : table.ranks) ranks *= node;
  return table;
}

BatchSizes elastic_batch(const ElasticityConfig& config, int64_t ranks) {
  const auto table = elastic_table(config);
  const bool legal = std::ranges::find(table.ranks, ranks) != table.ranks.end();
  const int64_t share = table.train_batch_size / ranks;
  const auto micro = legal ? largest_micro(config, share) : std::nullopt;
  if (!micro)
    throw Error(ExitCode::kConfig,
                std::to_string(ranks) + " ranks do not divide the elastic batch of " +
                    std::to_string(table.train_batch_size) + " sequences",
                kWhere, "legal: " + table.ranks_text());
  return {table.train_batch_size, *micro, share / *micro, ranks};
}

}  // namespace hydrofoil::config
