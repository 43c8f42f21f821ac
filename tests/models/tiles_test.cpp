// SPDX-License-Identifier: Apache-2.0
// Models whose vocabulary comes in tiles against the same with whole matrices.
#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/tensor.h>
#include <gmock/gmock.h>

#include <map>
#include <string>
#include <vector>

#include "hydrofoil/models/embedding.h"
#include "hydrofoil/models/program.h"
#include "tests/models/tiny.h"

namespace hydrofoil::models::tiles_test {
namespace {

// By name of the logical tensor.
std::map<std::string, at::Tensor> joined(const Program& program,
                                         const std::vector<at::Tensor>& values) {
  std::map<std::string, std::vector<at::Tensor>> parts;
  size_t next = 0;
  for (int b = 0; b < program.blocks(); ++b)
    for (const auto& parameter : program.parameter_specs(b))
      parts[parameter.name].push_back(values[next++]);
  std::map<std::string, at::Tensor> whole;
  for (const auto& [name, tiles] : parts) whole[name] = at::cat(tiles);
  return whole;
}

std::vector<at::Tensor> values_of(const Program& program) {
  std::vector<at::Tensor> values;
  for (const auto& [name, tensor] : test::all_parameters(program))
    values.push_back(tensor.detach());
  return values;
}

TEST(Tiles, HoldTheSameInitialValues) {
  const auto spec = test::golden_model("llama").model.spec();
  const Decoder whole(spec), tiled(spec, with_memory, {.unit_elements = 500});
  initialize(whole, 3), initialize(tiled, 3);
  EXPECT_GT(tiled.parameters(0).size(), 4u);
  const auto want = joined(whole, values_of(whole)), got = joined(tiled, values_of(tiled));
  ASSERT_EQ(got.size(), want.size());
  for (const auto& [name, values] : want)
    EXPECT_TRUE(test::same_bits(got.at(name), values)) << name;
}

TEST(Tiles, ChangeLossesAndGradientsByRoundingOnly) {
  for (const auto* family : {"gpt2", "llama"}) {  // tied, untied
    const auto golden = test::golden_model(family);
    const auto& spec = golden.model.spec();
    const Decoder whole(spec), tiled(spec, with_memory, {.unit_elements = 500});
    initialize(whole, 3), initialize(tiled, 3);
    const auto want_loss = forward_loss(whole, golden.batch(0));
    const auto got_loss = forward_loss(tiled, golden.batch(0));
    EXPECT_LT(test::relative_difference(got_loss.sum.detach(), want_loss.sum.detach()), 1e-6);
    want_loss.sum.backward(), got_loss.sum.backward();
    const auto want = joined(whole, test::take_gradients(whole));
    const auto got = joined(tiled, test::take_gradients(tiled));
    for (const auto& [name, gradient] : want)
      EXPECT_LT(test::relative_difference(got.at(name), gradient), 1e-5) << family << " " << name;
  }
}

TEST(Tiles, LookUpTheSameRowsAndGiveEveryTileAGradient) {
  const auto weight = test::random_normal({97, 17}, 1);
  const auto tokens = at::tensor({5, 96, 5, 0, 23, 24}, at::kLong).view({2, 3});
  Rows rows;
  for (const auto& tile : weight.split(24))
    rows.tiles.push_back(tile.clone().set_requires_grad(true));
  const Rows whole(weight.clone().set_requires_grad(true));
  const auto got = embedding(rows, tokens), want = embedding(whole, tokens);
  EXPECT_TRUE(test::same_bits(got.detach(), want.detach()));
  const auto gradient = test::random_normal({2, 3, 17}, 2);
  (got * gradient).sum().backward(), (want * gradient).sum().backward();
  std::vector<at::Tensor> grads;
  for (const auto& tile : rows.tiles) grads.push_back(tile.grad());
  EXPECT_TRUE(test::same_bits(at::cat(grads), whole.whole().grad()));
}

}  // namespace
}  // namespace hydrofoil::models::tiles_test
