// SPDX-License-Identifier: Apache-2.0
// ZeRO-3 for a torch::nn::Module of your own: nothing in the module changes.
//
//   hydrofoil launch --ranks 2 build/examples/wrap_module
//   torchrun --no-python --nproc_per_node 2 build/examples/wrap_module
//
// Expect a falling loss, and ranks that hold less the more there are: a slice, and two layers.
#include <torch/torch.h>

#include <cstdio>

#include "hydrofoil/comm/world.h"
#include "hydrofoil/core/error.h"
#include "hydrofoil/train/module.h"

struct ModelImpl : torch::nn::Module {
  torch::nn::Sequential layers{nullptr};
  ModelImpl() {
    layers = register_module("layers", torch::nn::Sequential(torch::nn::Linear(17, 384)));
    for (int i = 0; i < 8; ++i) {
      layers->push_back(torch::nn::GELU());
      layers->push_back(torch::nn::Linear(384, i < 7 ? 384 : 1));
    }
  }
  torch::Tensor forward(const torch::Tensor& x) { return layers->forward(x); }
};
TORCH_MODULE(Model);

int main() try {
  using namespace hydrofoil;
  const comm::Communicator world = comm::connect(comm::detect(comm::process_environment()));
  torch::manual_seed(1);
  Model model;
  auto engine =
      train::Engine::wrap(world, train::units_of(*model), {.stage = 3, .groups = {{.lr = 1e-3}}});

  torch::manual_seed(100 + world.rank());  // every rank has data of its own
  for (int step = 0; step < 50; ++step) {
    const auto x = torch::randn({32, 17});
    const auto y = torch::sin(x.sum(1, /*keepdim=*/true));
    engine->backward(torch::mse_loss(model->forward(x), y));
    const auto result = engine->step();
    if (world.rank() == 0 && step % 10 == 9)
      std::printf("step %d loss %.4f\n", step + 1, result.loss);
  }
  std::printf("rank %d of %d holds %zu bytes of parameters at its peak\n", world.rank(),
              world.size(), engine->ledger().peak_bytes(memory::Category::kParameters));
  return 0;
} catch (const hydrofoil::Error& error) {
  std::fprintf(stderr, "error: %s\n", error.line().c_str());
  return static_cast<int>(error.code());
}
