// SPDX-License-Identifier: Apache-2.0
// Managed parameters as ordinary at::Tensors: the training front end of a ParameterCache.
//
// A managed tensor always has its logical shape; its storage has memory only while its unit is
// resident. Its key set, and so that of every view of it, carries one spare dispatch key. A boxed
// fallback on that key sees each operator that touches the storage, forward and backward, pins the
// units of its arguments, and redispatches. Neither model code nor autograd needs to know.
//
// In-place writes to a managed tensor are legal inside Edit only. Raw access that bypasses the
// dispatcher (data_ptr) needs Hold; without it libtorch throws instead of reading stale memory.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "hydrofoil/memory/parameter_cache.h"

namespace hydrofoil::memory {

class TensorAdapter final : public ResidencyListener {
 public:
  struct Entry;

  explicit TensorAdapter(ParameterCache& cache);
  // Tensors may outlive the adapter; using them then is an error that says so.
  ~TensorAdapter() override;
  TensorAdapter(const TensorAdapter&) = delete;
  TensorAdapter& operator=(const TensorAdapter&) = delete;

  // A leaf that requires grad, of the shape and dtype the layout gives: no memory is touched.
  at::Tensor create(UnitId unit, size_t segment, size_t tensor);
  // Puts an existing leaf under management and releases its memory. Its values are not kept: copy
  // them first. It must be contiguous and own its storage; aliases of one storage share the entry.
  void adopt(const at::Tensor& tensor, UnitId unit, size_t segment, size_t index);
  static bool is_managed(const at::Tensor& tensor);

  void attach(UnitId unit, std::byte* base) override;
  void detach(UnitId unit) override;

  int64_t intercepted() const;  // operator calls that reached the fallback

 private:
  void bind(const at::Tensor& tensor, UnitId unit, size_t segment, size_t index);

  ParameterCache& cache_;
  std::vector<std::vector<std::shared_ptr<Entry>>> entries_;  // by unit
};

at::ScalarType scalar_type(DType type);  // of a floating-point type

// Keeps a unit resident for raw access while it lives.
class Hold {
 public:
  Hold(ParameterCache& cache, UnitId unit) : cache_(cache), unit_(unit) { cache.pin(unit); }
  ~Hold() { cache_.unpin(unit_); }
  Hold(const Hold&) = delete;
  Hold& operator=(const Hold&) = delete;

 private:
  ParameterCache& cache_;
  UnitId unit_;
};

}  // namespace hydrofoil::memory
