// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/train/stage_run.h"

#include <ATen/TensorOperators.h>
#include <torch/csrc/autograd/edge.h>
#include <torch/csrc/autograd/function.h>
#include <torch/csrc/autograd/grad_mode.h>

#include <optional>
#include <utility>

#include "hydrofoil/core/stopwatch.h"

namespace hydrofoil::train {
namespace {

using models::Batch;

// The blocks of a stage; their gradients land in the engine.
class StageBlocks final : public parallel::StageWork {
 public:
  StageBlocks(const Model& model, const Kept& kept, UnitWatch* watch)
      : program_(*model.program),
        engine_(*model.engine),
        cuts_(model.stage->cuts),
        choice_(model.stage->choice),
        kept_(kept),
        watch_(watch) {}

  at::Tensor forward(int link, const at::Tensor& input, const Batch& batch) override {
    const Stopwatch time(seconds_.forward);
    return run_blocks(program_, first(link), end(link), input, batch, kept_, watch_);
  }
  models::LossSum loss(const at::Tensor& input, const Batch& batch) override {
    const Stopwatch time(seconds_.forward);
    const int head = program_.blocks() - 1, link = static_cast<int>(cuts_.size()) - 2;
    return head_loss(program_, run_blocks(program_, first(link), head, input, batch, kept_, watch_),
                     batch, watch_);
  }

  void backward(int link, const torch::autograd::Edge& output, const at::Tensor& gradient,
                double weight) override {
    pass(link, weight, [&](double) { StageWork::backward(link, output, gradient, weight); });
  }
  void backward(const models::LossSum& loss) override {
    pass(static_cast<int>(cuts_.size()) - 2, loss.weight, [&](double scale) {
      StageWork::backward({.sum = scale == 1 ? loss.sum : loss.sum * scale, .weight = loss.weight});
    });
  }
  void backward_weights(models::LateWeights& late) override {
    const Stopwatch time(seconds_.backward);
    engine_.backward([&](double) { late.finish(); }, 0);
  }

  const StageSeconds& seconds() const { return seconds_; }

 private:
  int first(int link) const { return static_cast<int>(cuts_[static_cast<size_t>(link)]); }
  int end(int link) const { return first(link + 1); }

  // Of the chunks that a stage has of a micro-batch, the last one, whose backward comes first,
  // counts its weight.
  void pass(int link, double weight, const Engine::BackwardPass& body) {
    const Stopwatch time(seconds_.backward);
    if (watch_) watch_->begin(Pass::kBackward, end(link) - 1);
    const bool counts = link + choice_.stages >= choice_.links();
    engine_.backward(body, counts ? weight : 0);
    if (watch_ && link == 0) watch_->end(Pass::kBackward, 0, {});
  }

  const models::Program& program_;
  Engine& engine_;
  const parallel::Cuts& cuts_;
  const parallel::PipelineChoice& choice_;
  const Kept kept_;
  UnitWatch* const watch_;
  StageSeconds seconds_;
};

}  // namespace

bool reads_batches(const Model& model) {
  const Stage* stage = model.stage.get();
  return !stage || stage->stage == 0 || stage->stage + 1 == stage->choice.stages;
}

// Where a micro-batch has one backward on a stage, the engine counts them and reduces as it always
// does. Where it has several (chunks, weights apart), all gradients add up here and travel once.
StageSeconds run_stage(Model& model, std::span<const Batch> batches, const Kept& kept,
                       UnitWatch* watch) {
  const Stage& stage = *model.stage;
  const auto micro_batches = static_cast<int>(batches.size());
  StageBlocks blocks(model, kept, watch);
  std::optional<Engine::NoSync> apart;
  if (stage.choice.several_backwards()) {
    apart.emplace(*model.engine);
    model.engine->set_boundary(true);
  }
  const auto run =
      stage.pipeline.run(parallel::schedule_of(stage.choice, micro_batches), batches, blocks);
  model.engine->add_loss(run.loss);
  return blocks.seconds();
}

parallel::PipelineRun run_stage_forward(const Model& model, std::span<const Batch> batches) {
  at::NoGradGuard no_grad;
  const Stage& stage = *model.stage;
  StageBlocks blocks(model, false, nullptr);
  return stage.pipeline.run(parallel::inference({.micro_batches = static_cast<int>(batches.size()),
                                                 .stages = stage.choice.stages,
                                                 .chunks = stage.choice.chunks}),
                            batches, blocks);
}

}  // namespace hydrofoil::train
