// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/parallel/pipeline.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/engine.h>
#include <torch/csrc/autograd/variable.h>

#include <algorithm>
#include <array>
#include <map>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "hydrofoil/models/late_weights.h"

namespace hydrofoil::parallel {
namespace {

using models::Batch;

constexpr comm::Label kActivation{comm::Purpose::kActivations, "activations of a stage"};
constexpr comm::Label kGradient{comm::Purpose::kActivations, "gradients of a stage"};
constexpr comm::Label kSizes{comm::Purpose::kControl, "sizes of micro-batches"};
constexpr comm::Label kLoss{comm::Purpose::kLoss, "loss of the last stage"};

// Of a micro-batch, as the first stage says them.
struct Sizes {
  int64_t rows = 0, tokens = 0, first = 0, length = 0, labels = 0;
};

bool is_task(const Instruction& instruction) {
  return instruction.operation == Operation::kForward ||
         instruction.operation == Operation::kBackward ||
         instruction.operation == Operation::kBackwardWeights;
}

Sizes sizes_of(const Batch& batch) {
  return {.rows = batch.tokens.size(0),
          .tokens = batch.tokens.size(1),
          .first = batch.part.first,
          .length = batch.part.length,
          .labels = batch.labels.ne(models::kIgnoreLabel).sum().item<int64_t>()};
}

// A stage's tasks and transfers, in order.
std::vector<Instruction> list_of(const StageSchedule& stage) {
  std::vector<Instruction> list;
  for (const Slot& slot : stage.slots)
    for (const Instruction& instruction : slot)
      if (instruction.micro_batch >= 0 && instruction.operation != Operation::kLoad)
        list.push_back(instruction);
  return list;
}

// A tensor on its way.
struct Message {
  at::Tensor tensor;
  comm::Work work;

  at::Tensor take() {
    work.wait();
    return std::exchange(tensor, {});
  }
};

// One pass of one stage.
class Pass {
 public:
  Pass(const comm::Communicator& stages, const HiddenStates& hidden, const Schedule& schedule,
       std::span<const Batch> batches, StageWork& work)
      : stages_(stages),
        hidden_(hidden),
        shape_(schedule.shape()),
        batches_(batches),
        work_(work),
        list_(list_of(schedule.stage(stages.rank()))),
        sizes_(static_cast<size_t>(shape_.micro_batches)) {
    for (const Instruction& instruction : list_) {
      trains_ |= instruction.operation == Operation::kBackward;
      apart_ |= instruction.operation == Operation::kBackwardWeights;
    }
  }

  PipelineRun run() {
    try {
      agree_on_sizes();
      for (at_ = 0; at_ < list_.size(); ++at_) follow(list_[at_]);
      for (const Message& message : sent_) message.work.wait();
      share_loss();
    } catch (const std::exception& error) {
      abandon(error.what());
      throw;
    }
    return run_;
  }

 private:
  // A micro-batch between its forward and its backward.
  struct Kept {
    Message activation, gradient;  // of input and output, until forward and backward take them
    at::Tensor input;              // undefined: tokens
    torch::autograd::Edge output;
    models::LossSum loss;      // of the last link
    models::LateWeights late;  // what its backward has left
  };
  using Key = std::pair<int, int>;  // link, micro-batch

  // After a failure: every rank hears of it, and no buffer is given up before its call has ended.
  void abandon(const std::string& why) {
    stages_.abort("stage " + std::to_string(stages_.rank()) + " of the pipeline failed: " + why);
    for (auto& [key, kept] : kept_)
      for (Message* message : {&kept.activation, &kept.gradient})
        sent_.push_back(std::move(*message));
    for (const Message& message : sent_) {
      try {
        message.work.wait();
      } catch (...) {  // why the run ends is known
      }
    }
  }

  int link_of(const Instruction& instruction) const {
    return instruction.chunk * shape_.stages + stages_.rank();
  }
  bool is_last(int link) const { return link + 1 == shape_.links(); }
  int stage_beside(int link, int step) const {
    return (link + step + shape_.stages) % shape_.stages;
  }
  Kept& kept(const Instruction& instruction) {
    return kept_[{link_of(instruction), instruction.micro_batch}];
  }

  void agree_on_sizes() {
    if (batches_.size() != sizes_.size())
      throw std::logic_error("pipeline: not a batch for every micro-batch");
    if (stages_.rank() == 0)
      for (size_t m = 0; m < sizes_.size(); ++m) sizes_[m] = sizes_of(batches_[m]);
    constexpr size_t kNumbers = sizeof(Sizes) / sizeof(int64_t);
    stages_.broadcast({sizes_.data(), kNumbers * sizes_.size(), DType::kI64}, 0, kSizes);
  }

  void share_loss() {
    std::array<double, 2> sums{run_.loss, run_.weight};
    stages_.broadcast({sums.data(), sums.size(), DType::kF64}, shape_.stages - 1, kLoss);
    run_.loss = sums[0], run_.weight = sums[1];
  }

  std::vector<int64_t> hidden_shape(int micro) const {
    const Sizes& sizes = sizes_[static_cast<size_t>(micro)];
    return {sizes.rows, sizes.tokens, hidden_.size};
  }

  // Of those that stages in the middle cannot see.
  Batch batch_of(int link, int micro) const {
    const auto m = static_cast<size_t>(micro);
    if (link == 0 || is_last(link)) return batches_[m];
    Batch batch;
    batch.part = {.first = sizes_[m].first, .length = sizes_[m].length};
    return batch;
  }

  void follow(const Instruction& instruction) {
    if (is_task(instruction)) expect_until_next_task();
    switch (instruction.operation) {
      case Operation::kForward:
        return forward(instruction);
      case Operation::kBackward:
        return backward(instruction);
      case Operation::kBackwardWeights:
        return backward_weights(instruction);
      case Operation::kSendActivation:
        return send(stage_beside(link_of(instruction), 1), kActivation);
      case Operation::kSendGradient:
        return send(stage_beside(link_of(instruction), -1), kGradient);
      case Operation::kReceiveActivation:
      case Operation::kReceiveGradient:  // whoever takes it waits for it
        for (; next_ <= at_; ++next_) expect(list_[next_]);
        return;
      default:
        throw std::logic_error("pipeline: not an instruction of a micro-batch");
    }
  }

  // What the task after this one takes arrives while this one works.
  void expect_until_next_task() {
    for (next_ = std::max(next_, at_ + 1); next_ < list_.size() && !is_task(list_[next_]); ++next_)
      expect(list_[next_]);
  }
  void expect(const Instruction& instruction) {
    const bool activation = instruction.operation == Operation::kReceiveActivation;
    if (!activation && instruction.operation != Operation::kReceiveGradient) return;
    Message& message = activation ? kept(instruction).activation : kept(instruction).gradient;
    message.tensor = at::empty(hidden_shape(instruction.micro_batch), hidden_.type);
    message.work =
        stages_.recv({message.tensor.mutable_data_ptr(), message.tensor.nbytes(), DType::kU8},
                     stage_beside(link_of(instruction), activation ? -1 : 1),
                     activation ? kActivation : kGradient, comm::Issue::kAsync);
  }
  // What the last task has made.
  void send(int to, const comm::Label& label) {
    std::erase_if(sent_, [](const Message& message) { return message.work.done(); });
    Message& message = sent_.emplace_back(std::exchange(made_, {}).contiguous(), comm::Work());
    message.work =
        stages_.send({message.tensor.const_data_ptr(), message.tensor.nbytes(), DType::kU8}, to,
                     label, comm::Issue::kAsync);
  }

  void forward(const Instruction& instruction) {
    const int link = link_of(instruction), micro = instruction.micro_batch;
    Kept& here = kept(instruction);
    const at::AutoGradMode record(trains_);
    if (link > 0) here.input = here.activation.take().set_requires_grad(trains_);
    if (is_last(link)) {
      here.loss = work_.loss(here.input, batch_of(link, micro));
      run_.loss += here.loss.sum.item<double>();
      run_.weight += here.loss.weight;
    } else {
      made_ = work_.forward(link, here.input, batch_of(link, micro));
      if (made_.sizes() != at::IntArrayRef(hidden_shape(micro)) ||
          made_.scalar_type() != hidden_.type)
        throw std::logic_error("pipeline: hidden states are not what was agreed on");
      if (trains_) here.output = torch::autograd::impl::gradient_edge(made_);
      made_ = made_.detach();
    }
    if (trains_)
      run_.most_kept = std::max(run_.most_kept, static_cast<int>(++live_));
    else
      kept_.erase({link, micro});
  }

  void backward(const Instruction& instruction) {
    Kept& here = kept(instruction);
    {
      const models::LateWeights::Scope scope(apart_ ? &here.late : nullptr);
      if (is_last(link_of(instruction))) {
        work_.backward(std::exchange(here.loss, {}));
      } else {
        const auto& sizes = sizes_[static_cast<size_t>(instruction.micro_batch)];
        work_.backward(link_of(instruction), std::exchange(here.output, {}), here.gradient.take(),
                       static_cast<double>(sizes.labels));
      }
    }
    if (here.input.defined()) made_ = std::exchange(here.input, {}).grad();
    if (!apart_) done(instruction);
  }

  void backward_weights(const Instruction& instruction) {
    work_.backward_weights(kept(instruction).late);
    done(instruction);
  }
  void done(const Instruction& instruction) {
    kept_.erase({link_of(instruction), instruction.micro_batch});
    --live_;
  }

  const comm::Communicator& stages_;
  const HiddenStates& hidden_;
  const PipelineShape& shape_;
  const std::span<const Batch> batches_;
  StageWork& work_;
  const std::vector<Instruction> list_;
  std::vector<Sizes> sizes_;  // by micro-batch
  std::map<Key, Kept> kept_;
  at::Tensor made_;  // by the last task
  std::vector<Message> sent_;
  size_t at_ = 0, next_ = 0;  // into list_: what is done, and what has not been expected yet
  size_t live_ = 0;
  bool trains_ = false;
  bool apart_ = false;  // weights have backwards of their own
  PipelineRun run_;
};

}  // namespace

void StageWork::backward(int, const torch::autograd::Edge& output, const at::Tensor& gradient,
                         double) {
  torch::autograd::Engine::get_default_engine().execute(
      {output}, {gradient}, /*keep_graph=*/false, /*create_graph=*/false, /*accumulate_grad=*/true);
}

void StageWork::backward(const models::LossSum& loss) {
  torch::autograd::backward({loss.sum}, {});
}

Pipeline::Pipeline(comm::Communicator stages, const HiddenStates& hidden)
    : stages_(std::move(stages)), hidden_(hidden) {}

PipelineRun Pipeline::run(const Schedule& schedule, std::span<const Batch> batches,
                          StageWork& work) const {
  const PipelineShape& shape = schedule.shape();
  if (shape.stages != stages_.size() || (shape.stages == 1 && shape.chunks > 1))
    throw std::logic_error("pipeline: a schedule of other stages");
  return Pass(stages_, hidden_, schedule, batches, work).run();
}

}  // namespace hydrofoil::parallel
