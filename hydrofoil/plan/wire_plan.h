// SPDX-License-Identifier: Apache-2.0
// Bytes that one rank receives from its peers in one optimizer step, by operation: what the meter
// of comm counts for parameters and gradients. P elements with padding of b bytes, N ranks, f =
// (N-1)/N, g micro-batches:
//   stage 0   all_reduce 2 f P b; sparse gradients: of the embedding instead all_gather, at most
//             (N-1) (4 + 4 width) bytes a token of the step
//   stage 1   reduce_scatter f P b          read f P b
//   stage 2   reduce_scatter g f P b        read f P b
//   stage 3   reduce_scatter g f P b        read: f b times the gathers of each unit, at most 2 g f
//   P b
// Reads are one-sided gathers of parameters. Each rank owns 1/N and receives the rest, so all
// receive the same.
// A stage of a pipeline receives hidden states of every micro-batch from the stage before it and
// their gradients from the one after it, each link of it; either end of a tied weight all_reduces
// what it updates of its gradient with the other. Stages with several backward passes a micro-batch
// (interleaved, zero_bubble) reduce gradients once a step.
#pragma once

#include <cstdint>
#include <vector>

#include "hydrofoil/monitor/reporter.h"
#include "hydrofoil/plan/model.h"

namespace hydrofoil::plan {

struct WirePlan {
  uint64_t all_reduce = 0, all_gather = 0, reduce_scatter = 0, read = 0;
  uint64_t padding = 0;                 // of the sum of these, bytes that carry no parameter
  uint64_t all_to_all = 0, passed = 0;  // activations, where sequences are cut; by recv in a ring
  uint64_t messages = 0;                // by recv, of the stages beside this one
  uint64_t sums = 0;                    // by all_reduce, where ranks share matrices
  uint64_t twins = 0;                   // by all_reduce, of the other end of a tied weight
  std::vector<int64_t> gathers = {};    // by unit: how often it is read in a step

  uint64_t total() const {
    return all_reduce + all_gather + reduce_scatter + read + all_to_all + passed + messages + sums +
           twins;
  }
  monitor::NamedBytes by_operation() const;  // those that are not zero
};

WirePlan plan_wire(const Model& model, const RunShape& run);

// Hidden states of a micro-batch, or their gradients, on their way between two stages; one stage
// sends none.
uint64_t message_bytes(const Model& stage, const RunShape& run);

}  // namespace hydrofoil::plan
