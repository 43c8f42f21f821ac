// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/train/activation_files.h"

#include <ATen/ops/empty.h>

#include <memory>

namespace hydrofoil::train {

std::function<at::Tensor()> ActivationFiles::keep(const at::Tensor& values) {
  const auto flat = values.contiguous();
  const auto block =
      spill_.push({static_cast<const std::byte*>(flat.const_data_ptr()), flat.nbytes()});
  // Its room is given back with the last copy of what is returned.
  const std::shared_ptr<void> room(nullptr, [this, block](void*) { spill_.drop(block); });
  return [this, block, room, shape = values.sizes().vec(), type = values.scalar_type()] {
    auto back = at::empty(shape, at::TensorOptions().dtype(type));
    spill_.pop(block, {static_cast<std::byte*>(back.mutable_data_ptr()), back.nbytes()});
    return back;
  };
}

}  // namespace hydrofoil::train
