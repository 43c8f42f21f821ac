// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/plan/serving.h"

#include <algorithm>
#include <map>
#include <utility>

#include "hydrofoil/engine/session.h"
#include "hydrofoil/inference/kv_cache.h"
#include "hydrofoil/inference/runner.h"
#include "hydrofoil/kernels/packed_matrix.h"

namespace hydrofoil::plan {
namespace {

using inference::KvCache;
using inference::PackedModel;

constexpr int64_t kPagePositions = kernels::kPageKeys;
constexpr int64_t kLeastShare = 8;  // a cure leaves so great a part of the context or the batch
constexpr int64_t kMostBatch = int64_t{1} << 16;

// One text has a session's engine, several that of a batch.
engine::EngineOptions engine_options(const spec::ModelSpec& spec, const Serving& serving) {
  const DType cache = inference::kCacheTypes.at(serving.cache);
  if (serving.batch == 1) return engine::session_options(spec, cache, serving.context);
  const auto batch = static_cast<size_t>(serving.batch);
  return {.cache = cache,
          .cache_pages = batch * KvCache::pages_for(serving.context),
          .sequences = batch};
}

// The largest n of [0, most] for which `fits`, which no larger one does after the first that does
// not; 0: none.
template <class Fits>
int64_t largest(int64_t most, const Fits& fits) {
  int64_t low = 0, high = most;
  while (low < high) {
    const int64_t middle = low + (high - low + 1) / 2;
    if (fits(middle))
      low = middle;
    else
      high = middle - 1;
  }
  return low;
}

// Memory of ways to serve; what they have in common is looked up once.
class Sizes {
 public:
  Sizes(const ServedModel& model, const ServingHost& host) : model_(model), host_(host) {}

  const PackedModel& outline(const std::string& name) {
    const auto type = inference::kWeightTypes.at(name);
    const auto [entry, added] = outlines_.try_emplace(type);
    if (added) entry->second = model_.outline(type);
    return entry->second;
  }

  ServingMemory memory(const Serving& s) {
    const PackedModel& model = outline(s.type);
    ServingMemory memory{.weights = model.weight_bytes(),
                         .residency = inference::residency_of(model, 0, 0),
                         .packing = model.packing_bytes,
                         .engine = engine::engine_bytes(model, host_.threads,
                                                        engine_options(model_.spec, s), s.context),
                         .runtime = host_.runtime_bytes};
    const uint64_t beside = memory.total() - memory.residency.memory_bytes;
    if (host_.streams && beside < host_.usable_bytes)
      if (const auto within = inference::residency_within(model, host_.usable_bytes - beside))
        memory.residency = *within;
    return memory;
  }
  bool fits(const Serving& s) { return memory(s).total() <= host_.usable_bytes; }

  int64_t largest_context(Serving s) {
    const int64_t limit = inference::Runner::position_limit(model_.spec);
    const auto positions = [&](int64_t pages) { return std::min(pages * kPagePositions, limit); };
    return positions(largest(static_cast<int64_t>(KvCache::pages_for(limit)), [&](int64_t pages) {
      s.context = positions(pages);
      return fits(s);
    }));
  }
  int64_t largest_batch(Serving s) {
    return largest(kMostBatch, [&](int64_t batch) {
      s.batch = batch;
      return fits(s);
    });
  }

  // Types that take less than this one, the largest first.
  std::vector<std::string> smaller_types(const std::string& type) {
    const size_t most = outline(type).weight_bytes().total();
    std::vector<std::pair<size_t, std::string>> types;
    for (const auto& [name, value] : inference::kWeightTypes) {
      if (value == inference::WeightType::kAsStored) continue;
      if (const size_t bytes = outline(name).weight_bytes().total(); bytes < most)
        types.emplace_back(bytes, name);
    }
    std::ranges::sort(types, std::greater());
    const auto [twins, end] = std::ranges::unique(types, {}, [](const auto& t) { return t.first; });
    types.erase(twins, end);  // other names of the same
    std::vector<std::string> names;
    for (auto& [bytes, name] : types) names.push_back(std::move(name));
    return names;
  }
  std::vector<std::string> smaller_caches(const std::string& cache) const {
    std::vector<std::string> names = {"f32", "bf16", "int8"};  // the largest first
    names.erase(names.begin(), std::ranges::find(names, cache) + 1);
    return names;
  }

 private:
  const ServedModel& model_;
  const ServingHost& host_;
  std::map<inference::WeightType, PackedModel> outlines_;
};

// Looks for the least change that fits: one thing before two, the type of weights before that of
// keys and values before the context before the batch.
class CureSearch {
 public:
  CureSearch(Sizes& sizes, const Serving& asked)
      : sizes_(sizes),
        asked_(asked),
        types_(sizes.smaller_types(asked.type)),
        caches_(sizes.smaller_caches(asked.cache)) {}

  std::optional<Serving> find() {
    for (const auto& type : types_)
      if (const auto s = with(asked_, type, asked_.cache); sizes_.fits(s)) return s;
    for (const auto& cache : caches_)
      if (const auto s = with(asked_, asked_.type, cache); sizes_.fits(s)) return s;
    if (auto s = shorter(asked_, asked_.context / kLeastShare)) return s;
    if (auto s = fewer(asked_, asked_.batch / kLeastShare)) return s;
    for (const auto& type : types_)
      for (const auto& cache : caches_)
        if (const auto s = with(asked_, type, cache); sizes_.fits(s)) return s;
    const Serving narrow = with(asked_, types_.empty() ? asked_.type : types_.back(),
                                caches_.empty() ? asked_.cache : caches_.back());
    if (auto s = shorter(narrow, asked_.context / kLeastShare)) return s;
    if (auto s = fewer(narrow, 1)) return s;
    Serving one = narrow;
    one.batch = 1;
    return shorter(one, 1);
  }

 private:
  static Serving with(Serving s, const std::string& type, const std::string& cache) {
    s.type = type, s.cache = cache;
    return s;
  }
  std::optional<Serving> shorter(Serving s, int64_t least) {
    s.context = std::min(sizes_.largest_context(s), s.context);
    return s.context >= std::max<int64_t>(least, 1) ? std::optional(s) : std::nullopt;
  }
  std::optional<Serving> fewer(Serving s, int64_t least) {
    s.batch = std::min(sizes_.largest_batch(s), s.batch);
    return s.batch >= std::max<int64_t>(least, 1) ? std::optional(s) : std::nullopt;
  }

  Sizes& sizes_;
  const Serving& asked_;
  const std::vector<std::string> types_, caches_;
};

std::vector<std::string> options_of(const Serving& from, const Serving& to) {
  std::vector<std::string> options;
  if (to.type != from.type) options.push_back("--type " + to.type);
  if (to.cache != from.cache) options.push_back("--kv " + to.cache);
  if (to.context != from.context) options.push_back("--context " + std::to_string(to.context));
  if (to.batch != from.batch) options.push_back("--batch " + std::to_string(to.batch));
  return options;
}

// Keys that a token with so many positions before it and its own sees, over all layers.
double keys_seen(const spec::ModelSpec& spec, int64_t positions) {
  double keys = 0;
  for (int64_t layer = 0; layer < spec.layers; ++layer) {
    const int64_t window = spec.window_of(layer);
    keys += static_cast<double>(window > 0 ? std::min(window, positions) : positions);
  }
  return keys;
}
// The mean over the tokens of a prompt.
double mean_keys_seen(const spec::ModelSpec& spec, int64_t prompt) {
  double keys = 0;
  const auto length = static_cast<double>(prompt);
  for (int64_t layer = 0; layer < spec.layers; ++layer) {
    const auto window = static_cast<double>(spec.window_of(layer));
    const double near = window > 0 ? std::min(window, length) : length;
    keys += (near * (near + 1) / 2 + (length - near) * near) / length;
  }
  return keys;
}

double attention_flops(const spec::ModelSpec& spec, double keys) {
  return 4.0 * static_cast<double>(spec.heads * spec.head_dim) * keys;
}

class Ceilings {
 public:
  Ceilings(const PackedModel& model, const ServingPlan& plan)
      : model_(model),
        plan_(plan),
        key_bytes_(static_cast<double>(plan.position_bytes) /
                   static_cast<double>(model.spec.layers)) {}

  DecodeCeiling decode(int64_t batch) const {
    const auto [last, limit] = tokens_per_second(batch, plan_.serving.context);
    return {
        .batch = batch, .first = tokens_per_second(batch, 1).first, .last = last, .limit = limit};
  }

  // Logits are made for the last token only, so the head does not count.
  double prefill(size_t step_tokens) const {
    const int64_t length = plan_.serving.context;
    const auto tokens = static_cast<double>(std::min(static_cast<int64_t>(step_tokens), length));
    const double flops = 2 * model_.body_products() +
                         attention_flops(model_.spec, mean_keys_seen(model_.spec, length));
    const auto head = static_cast<double>(model_.head_matrix().shape.bytes());
    const double reads = (static_cast<double>(model_.step_bytes()) - head) / tokens;
    return 1 / std::max({seconds_at(reads, plan_.speed.read_bytes_per_second),
                         seconds_at(flops, plan_.speed.flops_per_second), streaming() / tokens});
  }

 private:
  std::pair<double, std::string_view> tokens_per_second(int64_t batch, int64_t positions) const {
    const auto texts = static_cast<double>(batch);
    const double keys = keys_seen(model_.spec, positions);
    const double reading =
        seconds_at(static_cast<double>(model_.step_bytes()) + texts * keys * key_bytes_,
                   plan_.speed.read_bytes_per_second);
    const double computing =
        seconds_at(texts * (2 * (model_.body_products() + model_.head_products()) +
                            attention_flops(model_.spec, keys)),
                   plan_.speed.flops_per_second);
    const auto limit = std::max({std::pair(reading, "memory"), std::pair(computing, "arithmetic"),
                                 std::pair(streaming(), "disk")});
    return {texts / limit.first, limit.second};
  }

  // Of all layers that are not in memory, once a step.
  double streaming() const {
    return seconds_at(static_cast<double>(plan_.memory.residency.pass_bytes),
                      plan_.speed.disk_bytes_per_second);
  }

  const PackedModel& model_;
  const ServingPlan& plan_;
  const double key_bytes_;  // of a layer, and position
};

void add_ceilings(ServingPlan& plan, const PackedModel& model, size_t step_tokens) {
  const auto& [read, flops, disk] = plan.speed;
  if (read <= 0 && flops <= 0 && (disk <= 0 || !plan.streams())) return;
  const Ceilings ceilings(model, plan);
  std::vector<int64_t> batches = {1, 8, 32, plan.serving.batch};
  std::ranges::sort(batches);
  batches.erase(std::ranges::unique(batches).begin(), batches.end());
  for (const int64_t batch : batches) plan.decode.push_back(ceilings.decode(batch));
  plan.prefill = ceilings.prefill(step_tokens);
}

void check_context(const Serving& serving, int64_t limit) {
  if (serving.context <= limit) return;
  throw Error(ExitCode::kUsage,
              "a context of " + std::to_string(serving.context) +
                  " positions is longer than the model's " + std::to_string(limit),
              "--context", "give " + std::to_string(limit) + " or less");
}

}  // namespace

uint64_t ServingMemory::total() const {
  return residency.memory_bytes + runtime + std::max(packing, engine.total());
}

kernels::Packing packing_of(const inference::PackedModel& outline) {
  return outline.layers.empty() ? outline.tokens.shape.packing
                                : outline.layers.front().up.shape.packing;
}

inference::Speed speed_of(const Rates& rates, kernels::Packing packing) {
  const double ranks = rates.ranks;
  return {.read_bytes_per_second = ranks * rates.machine.memory_bytes_per_second,
          .flops_per_second =
              kernels::multiplies_bytes(packing) ? 0 : ranks * rates.machine.flops_per_second,
          .disk_bytes_per_second = ranks * rates.machine.read_bytes_per_second};
}

ServingPlan plan_serving(const ServedModel& model, const Serving& serving, const ServingHost& host,
                         const inference::Speed& speed) {
  const auto& spec = model.spec;
  ServingPlan plan{
      .serving = serving,
      .family = spec.family,
      .parameters = spec::parameter_count(spec),
      .position_limit = inference::Runner::position_limit(spec),
      .window = spec.sliding_window,
      .position_bytes = KvCache::position_bytes(spec, inference::kCacheTypes.at(serving.cache)),
      .usable_bytes = host.usable_bytes,
      .speed = speed};
  if (plan.serving.context == 0)
    plan.serving.context = std::max<int64_t>(std::min(spec.max_positions, plan.position_limit), 1);
  check_context(plan.serving, plan.position_limit);
  for (int64_t layer = 0; layer < spec.layers; ++layer)
    plan.window_layers += spec.window_of(layer) > 0;
  Sizes sizes(model, host);
  plan.memory = sizes.memory(plan.serving);
  plan.largest_context = sizes.largest_context(plan.serving);
  plan.largest_batch = sizes.largest_batch(plan.serving);
  // A cure of what fits only by streaming does without.
  ServingHost without = host;
  without.streams = host.streams && !plan.fits();
  Sizes cured(model, without);
  if (!plan.fits() || plan.streams())
    if (auto cure = CureSearch(cured, plan.serving).find())
      plan.cure = ServingCure{.serving = *cure,
                              .options = options_of(plan.serving, *cure),
                              .total_bytes = cured.memory(*cure).total()};
  const auto options = engine_options(spec, plan.serving);
  add_ceilings(plan, sizes.outline(serving.type), engine::most_step_tokens(options));
  return plan;
}

}  // namespace hydrofoil::plan
