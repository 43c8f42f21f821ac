// SPDX-License-Identifier: Apache-2.0
// Forward and backward of a model folder on a fixed batch, one pass for each line on standard
// input; benchmarks/peers/hf_parity.py takes turns with PyTorch.
//
//   models_step FOLDER BATCH.safetensors THREADS [recompute] < lines
//
// Prints {"seconds":s,"loss":mean,"grad_norm":n} after each pass.
#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>

#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <exception>
#include <fstream>
#include <iostream>
#include <iterator>
#include <string>

#include "hydrofoil/io/safetensors.h"
#include "hydrofoil/models/decoder.h"
#include "hydrofoil/models/recompute.h"

namespace hydrofoil {
namespace {

at::Tensor load(const io::SafetensorsFile& file, const std::string& name) {
  const auto& stored = file.at(name);
  auto tensor =
      at::empty(stored.shape,
                at::TensorOptions().dtype(stored.dtype == DType::kI64 ? at::kLong : at::kFloat));
  file.read(stored, 0, {static_cast<std::byte*>(tensor.mutable_data_ptr()), tensor.nbytes()});
  return tensor;
}

models::Decoder open_model(const std::string& folder) {
  std::ifstream in(folder + "/config.json");
  const std::string text(std::istreambuf_iterator<char>(in), {});
  const io::SafetensorsFile weights(folder + "/model.safetensors");
  return models::Decoder(spec::model_spec_from_hf(text, folder),
                         [&](int, const spec::ParameterSpec& p) { return load(weights, p.name); });
}

models::LossSum forward(const models::Decoder& model, const models::Batch& batch, bool recompute) {
  auto x = model.forward(0, batch.tokens, batch);
  for (int b = 1; b + 1 < model.blocks(); ++b) {
    const auto block = [&model, &batch, b](const at::Tensor& input) {
      return model.forward(b, input, batch);
    };
    x = recompute ? models::recompute(block, x) : block(x);
  }
  return model.loss(x, batch);
}

double take_gradient_norm(const models::Decoder& model, double divisor) {
  double square = 0;
  for (int b = 0; b < model.blocks(); ++b)
    for (const auto& p : model.parameters(b)) {
      square += p.tensor.grad().square().sum(at::kDouble).item<double>();
      p.tensor.mutable_grad().reset();
    }
  return std::sqrt(square) / divisor;
}

int run(int argc, char** argv) {
  if (argc < 4)
    return std::fprintf(stderr,
                        "usage: models_step FOLDER BATCH.safetensors THREADS [recompute]\n"),
           2;
  at::set_num_threads(std::stoi(argv[3]));
  const bool recompute = argc > 4 && std::strcmp(argv[4], "recompute") == 0;
  const models::Decoder model = open_model(argv[1]);
  const io::SafetensorsFile data(argv[2]);
  const models::Batch batch{load(data, "tokens"), load(data, "labels")};
  for (std::string line; std::getline(std::cin, line);) {
    const auto start = std::chrono::steady_clock::now();
    const auto loss = forward(model, batch, recompute);
    loss.sum.backward();
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    std::printf("{\"seconds\":%.6f,\"loss\":%.9g,\"grad_norm\":%.9g}\n", seconds.count(),
                loss.sum.item<double>() / loss.weight, take_gradient_norm(model, loss.weight));
    std::fflush(stdout);
  }
  return 0;
}

}  // namespace
}  // namespace hydrofoil

int main(int argc, char** argv) {
  try {
    return hydrofoil::run(argc, argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "models_step: %s\n", error.what());
    return 1;
  }
}
