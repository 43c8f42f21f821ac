// SPDX-License-Identifier: Apache-2.0
// Where a pass over the model stands, block by block: told by batch_loss, and by the gradients as
// they go from block to block.
#pragma once

#include <ATen/core/Tensor.h>

#include <array>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "hydrofoil/comm/flight_recorder.h"

namespace hydrofoil::train {

enum class Pass : uint8_t { kForward, kRecompute, kBackward };
constexpr size_t kPasses = 3;
std::string_view name_of(Pass pass);  // "forward", "recompute", "backward"

class UnitWatch {
 public:
  virtual ~UnitWatch() = default;
  virtual void begin(Pass pass, int block) = 0;
  // `value`: what the block gave, hidden states or the loss; in backward the gradient of what it
  // got (undefined for the first block).
  virtual void end(Pass pass, int block, const at::Tensor& value) = 0;
};

// Keeps the flight record current: "forward of layers.3".
class ActivityWatch final : public UnitWatch {
 public:
  // `after_each`: called when a block has ended.
  ActivityWatch(comm::FlightRing& ring, std::vector<std::string> block_names,
                std::function<void()> after_each)
      : ring_(ring), names_(std::move(block_names)), after_each_(std::move(after_each)) {}
  void begin(Pass pass, int block) override;
  void end(Pass pass, int block, const at::Tensor& value) override;

 private:
  comm::FlightRing& ring_;
  const std::vector<std::string> names_;
  const std::function<void()> after_each_;
  std::array<std::optional<comm::Activity>, kPasses> now_;  // recomputation lies inside backward
};

}  // namespace hydrofoil::train
