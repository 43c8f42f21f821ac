// SPDX-License-Identifier: Apache-2.0
// One stage of a pipeline: follows its part of a schedule.
//
//   const Pipeline pipeline(stages, {.size = spec.hidden_size, .type = at::kFloat});
//   const PipelineRun run = pipeline.run(one_f_one_b({.micro_batches = 8, .stages = 4}), batches,
//                                        work);
//
// The stages are the ranks of a communicator. What travels between two of them does so beside the
// work of both: receives are posted one task ahead, sends wait for nobody. Lengths may differ from
// micro-batch to micro-batch and from step to step: the first stage says them once a step. A stage
// that fails ends the run of all with Error(kPeerFailed).
#pragma once

#include <ATen/core/Tensor.h>

#include <span>

#include "hydrofoil/comm/communicator.h"
#include "hydrofoil/models/late_weights.h"
#include "hydrofoil/models/program.h"
#include "hydrofoil/parallel/schedule.h"

namespace torch::autograd {
struct Edge;
}

namespace hydrofoil::parallel {

// What a rank computes: the links that are its stage's. Calls come one at a time.
class StageWork {
 public:
  virtual ~StageWork() = default;

  // Any link but the last: hidden states [B, T, H] from those of the link before it, from the
  // batch's tokens (input undefined) where it is the first. Elsewhere the batch has its `part`
  // only.
  virtual at::Tensor forward(int link, const at::Tensor& input, const models::Batch& batch) = 0;
  // The last link, head and labels included.
  virtual models::LossSum loss(const at::Tensor& input, const models::Batch& batch) = 0;

  // From the gradient of what forward gave to that of its input (which is a leaf) and of
  // parameters. `weight`: that the micro-batch's loss will have had, or has.
  virtual void backward(int link, const torch::autograd::Edge& output, const at::Tensor& gradient,
                        double weight);
  virtual void backward(const models::LossSum& loss);
  // What a backward has put off, where the schedule has backwards for weights.
  virtual void backward_weights(models::LateWeights& late) { late.finish(); }
};

// Hidden states between stages: [B, T, size].
struct HiddenStates {
  int64_t size = 0;
  at::ScalarType type = at::kFloat;
};

struct PipelineRun {
  double loss = 0, weight = 0;  // of all micro-batches, the same on all stages
  int most_kept = 0;            // micro-batches between forward and backward here, all chunks
};

class Pipeline {
 public:
  // Stage i is rank i.
  Pipeline(comm::Communicator stages, const HiddenStates& hidden);

  // One pass over micro-batches, one batch for each; their contents are read on the first and on
  // the last stage. What ends a step after the last backward (sums over ranks, the update) is the
  // caller's. Where the schedule has backwards for weights, matrices' gradients come then
  // (models/late_weights.h). Collective.
  PipelineRun run(const Schedule& schedule, std::span<const models::Batch> batches,
                  StageWork& work) const;

 private:
  const comm::Communicator stages_;
  const HiddenStates hidden_;
};

}  // namespace hydrofoil::parallel
