// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/config/batch.h"

#include <algorithm>

#include "hydrofoil/config/elastic.h"
#include "hydrofoil/core/error.h"

namespace hydrofoil::config {
namespace {

constexpr const char* kTotal = "train_batch_size";
constexpr const char* kMicro = "train_micro_batch_size_per_gpu";
constexpr const char* kSteps = "gradient_accumulation_steps";
constexpr size_t kRepairs = 3;

int64_t product(int64_t a, int64_t b) {
  int64_t out = 0;
  if (__builtin_mul_overflow(a, b, &out)) {
    throw Error(ExitCode::kConfig, "the batch does not fit into 64 bits", kTotal,
                "use smaller batch sizes");
  }
  return out;
}

int64_t product(int64_t a, int64_t b, int64_t c) {
  return product(product(a, b), c);
}

// The positive multiple of `unit` nearest to n.
int64_t nearest_multiple(int64_t n, int64_t unit) {
  const int64_t below = n / unit;
  return product(std::max<int64_t>(1, n - below * unit > unit / 2 ? below + 1 : below), unit);
}

int64_t other_neighbour(int64_t n, int64_t nearest, int64_t unit) {
  return nearest > n && nearest > unit ? nearest - unit : product(nearest / unit + 1, unit);
}

// The largest divisor of n that is at most `bound`; at least 1. Bounded work: bound is a batch
// size.
int64_t divisor_up_to(int64_t n, int64_t bound) {
  for (int64_t d = std::min(bound, n); d > 1; --d) {
    if (n % d == 0) return d;
  }
  return 1;
}

// What a request says, with 1 where it says nothing.
int64_t micro_or_one(const BatchRequest& r) {
  return r.micro_batch_size.value_or(1);
}
int64_t steps_or_one(const BatchRequest& r) {
  return r.accumulation_steps.value_or(1);
}

// The sizes of a total that the given factors divide.
BatchSizes divide(int64_t total, const BatchRequest& r, int64_t ranks) {
  const int64_t share = total / ranks;
  if (r.micro_batch_size) return {total, *r.micro_batch_size, share / *r.micro_batch_size, ranks};
  const int64_t steps = steps_or_one(r);
  return {total, share / steps, steps, ranks};
}

// Different ones, in the order they are offered.
void add_new(std::vector<BatchSizes>& repairs, const BatchSizes& repair) {
  const bool old = std::find(repairs.begin(), repairs.end(), repair) != repairs.end();
  if (!old && repairs.size() < kRepairs) repairs.push_back(repair);
}

// All three are given: change each in turn; the total moves too where it does not divide.
std::vector<BatchSizes> repairs_of_three(const BatchRequest& r, int64_t ranks) {
  const int64_t total = *r.train_batch_size, micro = *r.micro_batch_size;
  const int64_t steps = *r.accumulation_steps;
  const int64_t by_micro = nearest_multiple(total, product(steps, ranks));
  const int64_t by_steps = nearest_multiple(total, product(micro, ranks));
  std::vector<BatchSizes> repairs = {{product(micro, steps, ranks), micro, steps, ranks}};
  add_new(repairs, {by_micro, by_micro / product(steps, ranks), steps, ranks});
  add_new(repairs, {by_steps, micro, by_steps / product(micro, ranks), ranks});
  if (const auto fitting = ranks_for(r, ranks)) add_new(repairs, {total, micro, steps, *fitting});
  add_new(repairs, {product(micro, steps + 1, ranks), micro, steps + 1, ranks});
  add_new(repairs, {product(micro + 1, steps, ranks), micro + 1, steps, ranks});
  return repairs;
}

BatchSizes repair_by_factor(const BatchRequest& r, int64_t ranks) {
  const int64_t total = nearest_multiple(*r.train_batch_size, ranks);
  const int64_t share = total / ranks;
  if (r.micro_batch_size) {
    const int64_t micro = divisor_up_to(share, *r.micro_batch_size);
    return {total, micro, share / micro, ranks};
  }
  const int64_t steps = divisor_up_to(share, steps_or_one(r));
  return {total, share / steps, steps, ranks};
}

std::string times(const BatchRequest& r, int64_t ranks) {
  std::string text;
  if (r.micro_batch_size)
    text += std::string(kMicro) + " " + std::to_string(*r.micro_batch_size) + " x ";
  if (r.accumulation_steps)
    text += std::string(kSteps) + " " + std::to_string(*r.accumulation_steps) + " x ";
  return text + std::to_string(ranks) + (ranks == 1 ? " rank" : " ranks");
}

// The keys a repair changes, with their new values.
std::string changes(const BatchRequest& r, const BatchSizes& repair, int64_t ranks) {
  std::string text;
  const auto add = [&](const std::string& change) {
    text += (text.empty() ? "" : " with ") + change;
  };
  if (repair.train_batch_size != *r.train_batch_size) {
    add(std::string(kTotal) + " " + std::to_string(repair.train_batch_size));
  }
  if (r.micro_batch_size && repair.micro_batch_size != *r.micro_batch_size) {
    add(std::string(kMicro) + " " + std::to_string(repair.micro_batch_size));
  }
  if (r.accumulation_steps && repair.accumulation_steps != *r.accumulation_steps) {
    add(std::string(kSteps) + " " + std::to_string(repair.accumulation_steps));
  }
  if (repair.ranks != ranks)
    add(std::to_string(repair.ranks) + (repair.ranks == 1 ? " rank" : " ranks"));
  return text;
}

[[noreturn]] void fail(const BatchRequest& r, int64_t ranks, const std::string& where) {
  const int64_t unit = product(micro_or_one(r), steps_or_one(r), ranks);
  const bool all = r.micro_batch_size && r.accumulation_steps;
  const std::string relation = all ? " is not " : " is not a multiple of ";
  const std::string value =
      r.micro_batch_size || r.accumulation_steps ? " = " + std::to_string(unit) : "";
  std::string hint = "legal: ";
  const std::vector<BatchSizes> repairs = batch_repairs(r, ranks);
  for (size_t i = 0; i < repairs.size(); ++i) {
    if (i > 0) hint += i + 1 == repairs.size() ? ", or " : ", ";
    hint += changes(r, repairs[i], ranks);
  }
  throw Error(ExitCode::kConfig,
              std::string(kTotal) + " " + std::to_string(*r.train_batch_size) + relation +
                  times(r, ranks) + value,
              where, hint);
}

}  // namespace

std::optional<int64_t> ranks_for(const BatchRequest& r, int64_t ranks) {
  if (!r.train_batch_size) return ranks;
  const int64_t unit = product(micro_or_one(r), steps_or_one(r));
  if (*r.train_batch_size % unit != 0) return std::nullopt;
  const int64_t share = *r.train_batch_size / unit;
  if (r.micro_batch_size && r.accumulation_steps) return share;
  return divisor_up_to(share, ranks);
}

std::vector<BatchSizes> batch_repairs(const BatchRequest& r, int64_t ranks) {
  if (r.micro_batch_size && r.accumulation_steps) return repairs_of_three(r, ranks);
  const int64_t total = *r.train_batch_size;
  const int64_t unit = product(micro_or_one(r), steps_or_one(r), ranks);
  const int64_t near = nearest_multiple(total, unit);
  std::vector<BatchSizes> repairs = {divide(near, r, ranks)};
  if (r.micro_batch_size || r.accumulation_steps) add_new(repairs, repair_by_factor(r, ranks));
  if (const auto fitting = ranks_for(r, ranks)) add_new(repairs, divide(total, r, *fitting));
  add_new(repairs, divide(other_neighbour(total, near, unit), r, ranks));
  add_new(repairs, divide(product(near / unit + 2, unit), r, ranks));
  return repairs;
}

BatchSizes resolve_batch(const BatchRequest& r, int64_t ranks, const std::string& where) {
  if (!r.train_batch_size && !r.micro_batch_size) {
    throw Error(ExitCode::kConfig, std::string("neither ") + kTotal + " nor " + kMicro + " is set",
                where, std::string("set ") + kMicro + ", e.g. to 1");
  }
  if (!r.train_batch_size) {
    const int64_t total = product(*r.micro_batch_size, steps_or_one(r), ranks);
    return {total, *r.micro_batch_size, steps_or_one(r), ranks};
  }
  const int64_t unit = product(micro_or_one(r), steps_or_one(r), ranks);
  const bool all = r.micro_batch_size && r.accumulation_steps;
  const bool legal = all ? *r.train_batch_size == unit : *r.train_batch_size % unit == 0;
  if (!legal) fail(r, ranks, where);
  return divide(*r.train_batch_size, r, ranks);
}

namespace {

std::string ranks_text(int64_t ranks) {
  return std::to_string(ranks) + (ranks == 1 ? " rank" : " ranks");
}

// "mesh.pp is 2 and mesh.sp is 3": the axes that are set, but for dp.
std::string axes_text(const MeshConfig& mesh) {
  std::string text;
  for (const auto& [name, size] : mesh.model_axes())
    if (size > 1) text += (text.empty() ? "" : " and ") + name + " is " + std::to_string(size);
  return text;
}

int64_t data_ranks(const MeshConfig& mesh, int64_t ranks) {
  int64_t model = 1;
  for (const auto& [name, size] : mesh.model_axes()) model = product(model, size);
  if (ranks % model != 0)
    throw Error(
        ExitCode::kConfig, axes_text(mesh) + ", the run has " + ranks_text(ranks), "mesh",
        "start " + std::to_string(nearest_multiple(ranks, model)) + " ranks, or lower an axis");
  const int64_t left = ranks / model;
  if (mesh.dp && *mesh.dp != left)
    throw Error(ExitCode::kConfig,
                "mesh.dp is " + std::to_string(*mesh.dp) + ", the run has " + ranks_text(ranks) +
                    (model > 1 ? ", and " + axes_text(mesh) : ""),
                "mesh.dp", "remove it: it is what the other axes leave");
  return left;
}

}  // namespace

BatchSizes resolve_batch(const DeepSpeedConfig& config, int64_t all_ranks) {
  const int64_t ranks = data_ranks(config.mesh, all_ranks);
  if (config.elasticity.enabled) return elastic_batch(config.elasticity, ranks);
  return resolve_batch({config.train_batch_size, config.train_micro_batch_size_per_gpu,
                        config.gradient_accumulation_steps},
                       ranks, config.batch_place);
}

}  // namespace hydrofoil::config
