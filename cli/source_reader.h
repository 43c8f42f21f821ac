// SPDX-License-Identifier: Apache-2.0
// The weights of a model's files, as the runner packs them.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>

#include "hydrofoil/checkpoint/model_source.h"
#include "hydrofoil/inference/model_reader.h"

namespace hydrofoil::cli {

class SourceReader final : public inference::ModelReader {
 public:
  explicit SourceReader(std::unique_ptr<checkpoint::Weights> weights)
      : weights_(std::move(weights)) {}
  void read(const std::string& name, size_t begin, std::span<float> out) const override {
    weights_->read(name, begin, out);
  }
  std::optional<GgmlType> row_type(const std::string& name) const override {
    return weights_->row_type(name);
  }
  void read_row(const std::string& name, size_t row, std::span<std::byte> out) const override {
    weights_->read_row(name, row, out);
  }

 private:
  std::unique_ptr<checkpoint::Weights> weights_;
};

}  // namespace hydrofoil::cli
