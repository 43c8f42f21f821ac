// SPDX-License-Identifier: Apache-2.0
// Inputs of recomputed layers that wait in a file for their backward.
#pragma once

#include <functional>
#include <utility>

#include "hydrofoil/memory/spill.h"
#include "hydrofoil/models/recompute.h"

namespace hydrofoil::train {

class ActivationFiles final : public models::ActivationStore {
 public:
  ActivationFiles(memory::FileTierOptions options, memory::Ledger& ledger)
      : spill_(std::move(options), ledger) {}
  std::function<at::Tensor()> keep(const at::Tensor& values) override;
  io::IoCounters counters() const { return spill_.counters(); }

 private:
  memory::Spill spill_;
};

}  // namespace hydrofoil::train
