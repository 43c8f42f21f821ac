// SPDX-License-Identifier: Apache-2.0
// Where a NaN or an infinity first appeared.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "hydrofoil/models/program.h"
#include "hydrofoil/train/unit_watch.h"

namespace hydrofoil::train {

// Elements of a tensor that are no numbers.
struct NonFinite {
  std::string tensor;  // "layers.3.mlp.weight", "the output", "the gradient of layers.3.mlp.weight"
  int64_t nan = 0, infinite = 0, elements = 0, first = 0;  // first: its index in the flat tensor
  std::string text() const;  // "layers.3.mlp.weight has 1 NaN among 1296 elements, the first at 17"
};
// nullopt: all elements are finite.
std::optional<NonFinite> non_finite(const at::Tensor& values, std::string name);

struct Finding {
  Pass pass = Pass::kForward;
  std::string unit;
  std::vector<NonFinite> tensors;  // what came first, then further gradients of the same backward
  std::string text() const;        // "in the forward of layers.3: .."
};

// Watches one micro-batch. A parameter that is not finite is found when its block's output is not.
class NonFiniteSearch final : public UnitWatch {
 public:
  NonFiniteSearch(const models::Program& program, std::vector<std::string> block_names);
  ~NonFiniteSearch() override;  // takes its hooks off the parameters
  NonFiniteSearch(const NonFiniteSearch&) = delete;
  NonFiniteSearch& operator=(const NonFiniteSearch&) = delete;

  void begin(Pass pass, int block) override;
  void end(Pass pass, int block, const at::Tensor& value) override;
  const std::optional<Finding>& finding() const { return finding_; }

 private:
  void check(Pass pass, int block, const at::Tensor& value, const std::string& name);
  void check_parameters(int block);

  struct Hook {
    at::Tensor parameter;
    unsigned id;
  };
  const models::Program& program_;
  const std::vector<std::string> names_;
  std::vector<Hook> hooks_;
  std::optional<Finding> finding_;
};

}  // namespace hydrofoil::train
