// SPDX-License-Identifier: Apache-2.0
// Sharded training of plain tensors: no module, no torch::nn, no torch/torch.h.
//
//   hydrofoil launch --ranks 3 build/examples/plain_tensors
//
// Expect the loss to fall below 0.01.
#include <ATen/TensorOperators.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/mse_loss.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/tanh.h>

#include <cstdio>

#include "hydrofoil/comm/world.h"
#include "hydrofoil/core/error.h"
#include "hydrofoil/train/engine.h"

int main() try {
  using namespace hydrofoil;
  const comm::Communicator world = comm::connect(comm::detect(comm::process_environment()));
  at::manual_seed(1);
  const at::Tensor in = (at::randn({64, 8}) * 0.3).set_requires_grad(true);
  const at::Tensor out = (at::randn({1, 64}) * 0.1).set_requires_grad(true);
  auto engine =
      train::Engine::wrap(world, {{"in", {{"in.weight", in}}}, {"out", {{"out.weight", out}}}},
                          {.stage = 2, .groups = {{.lr = 1e-2}}});
  const at::Tensor x = at::randn({256, 8});
  const at::Tensor y = at::tanh(x.sum(1, /*keepdim=*/true));
  double loss = 0;
  for (int step = 0; step < 300; ++step) {
    engine->backward(at::mse_loss(at::linear(at::tanh(at::linear(x, in)), out), y));
    loss = engine->step().loss;
  }
  if (world.rank() == 0) std::printf("loss %.5f after %ld steps\n", loss, engine->steps());
  return loss < 0.01 ? 0 : 1;
} catch (const hydrofoil::Error& error) {
  std::fprintf(stderr, "error: %s\n", error.line().c_str());
  return static_cast<int>(error.code());
}
