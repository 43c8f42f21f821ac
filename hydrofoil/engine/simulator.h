// SPDX-License-Identifier: Apache-2.0
// The scheduler and the pages as they are, on a model that is only a cost curve: what a policy does
// to a load, and whether it ever loses something, without computing a token.
#pragma once

#include <cstddef>
#include <cstdint>
#include <unordered_map>
#include <utility>
#include <vector>

#include "hydrofoil/engine/cost_curve.h"
#include "hydrofoil/engine/load.h"
#include "hydrofoil/engine/scheduler.h"

namespace hydrofoil::engine {

class Simulator final : public Server {
 public:
  Simulator(const SchedulerOptions& options, size_t pages, CostCurve cost)
      : pool_(pages), scheduler_(options, pool_), cost_(std::move(cost)) {}

  double seconds() override { return now_; }
  void wait_until(double seconds) override { now_ = seconds; }
  void add(size_t number, const LoadRequest& request) override;
  std::vector<size_t> step() override;
  void cancel(size_t number);  // nothing once it has ended

  bool busy() const { return !texts_.empty(); }
  struct Ran {
    size_t number, tokens;
  };
  const std::vector<Ran>& last_step() const { return ran_; }
  const PagePool& pool() const { return pool_; }
  const Scheduler& scheduler() const { return scheduler_; }
  // Throws std::logic_error where pages are lost or miscounted.
  void check() const;

 private:
  struct Text {
    Sequence sequence;
    size_t end;  // tokens, when it is complete
  };

  PagePool pool_;
  Scheduler scheduler_;
  CostCurve cost_;
  double now_ = 0;
  std::unordered_map<uint64_t, Text> texts_;  // by the request's number
  std::vector<Ran> ran_;
};

}  // namespace hydrofoil::engine
