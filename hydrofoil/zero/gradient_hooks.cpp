// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/zero/gradient_hooks.h"

#include <ATen/ops/from_blob.h>
#include <torch/csrc/autograd/function_hook.h>
#include <torch/csrc/autograd/grad_mode.h>
#include <torch/csrc/autograd/variable.h>

#include <memory>
#include <utility>

#include "hydrofoil/memory/tensor_adapter.h"

namespace hydrofoil::zero {
namespace {

using torch::autograd::PostAccumulateGradHook;

class LandingHook final : public PostAccumulateGradHook {
 public:
  struct Place {
    GradientReducer* reducer;
    memory::UnitId unit;
    size_t segment, index;
  };
  LandingHook(Place place, std::unique_ptr<PostAccumulateGradHook> previous)
      : place_(place), previous_(std::move(previous)) {}

  void operator()(const at::Tensor& parameter) override {
    if (previous_) (*previous_)(parameter);
    at::Tensor gradient = std::exchange(parameter.mutable_grad(), at::Tensor());
    if (!gradient.defined()) return;  // it comes later (models/late_weights.h)
    at::NoGradGuard no_grad;
    const auto landing = place_.reducer->land(place_.unit, place_.segment, place_.index);
    const at::Tensor to =
        at::from_blob(landing.to.data, parameter.sizes(), memory::scalar_type(landing.to.dtype));
    if (landing.add) {
      to.add_(gradient);
    } else {
      to.copy_(gradient);
    }
    gradient.reset();  // before its unit is reduced
    place_.reducer->landed(place_.unit, place_.segment, place_.index);
  }

  std::unique_ptr<PostAccumulateGradHook> take_previous() { return std::move(previous_); }

 private:
  const Place place_;
  std::unique_ptr<PostAccumulateGradHook> previous_;  // a tensor has one slot: chain
};

}  // namespace

void land_gradients(const at::Tensor& parameter, GradientReducer& reducer, memory::UnitId unit,
                    size_t segment, size_t index) {
  auto previous = std::move(torch::autograd::impl::post_acc_grad_hooks(parameter));
  torch::autograd::impl::set_post_acc_grad_hooks(
      parameter, std::make_unique<LandingHook>(LandingHook::Place{&reducer, unit, segment, index},
                                               std::move(previous)));
}

void stop_landing(const at::Tensor& parameter) {
  auto hook = std::move(torch::autograd::impl::post_acc_grad_hooks(parameter));
  if (auto* landing = dynamic_cast<LandingHook*>(hook.get()))
    torch::autograd::impl::set_post_acc_grad_hooks(parameter, landing->take_previous());
  else
    torch::autograd::impl::set_post_acc_grad_hooks(parameter, std::move(hook));
}

}  // namespace hydrofoil::zero
