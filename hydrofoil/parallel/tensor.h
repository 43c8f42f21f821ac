// SPDX-License-Identifier: Apache-2.0
// Matrices shared by ranks (tensor parallelism; Megatron-LM, arXiv 1909.08053): each layer sums
// twice over the ranks forward, and twice backward.
#pragma once

#include <mutex>
#include <set>
#include <string>

#include "hydrofoil/comm/communicator.h"
#include "hydrofoil/models/program.h"
#include "hydrofoil/models/tensor_seam.h"

namespace hydrofoil::parallel {

class TensorAxis final : public models::TensorSeam {
 public:
  // `group`: the ranks that share the model's matrices, in the order of their parts. Collective.
  // Error(kConfig) for more than can.
  TensorAxis(const comm::Communicator& group, const spec::ModelSpec& spec);

  spec::TensorPart part() const override { return {group_.rank(), group_.size()}; }
  at::Tensor fan_out(const at::Tensor& x) const override;
  at::Tensor sum(const at::Tensor& terms) const override;
  void add_up(const at::Tensor& x) const override;
  void largest(const at::Tensor& x) const override;
  at::Tensor gather(const at::Tensor& columns, int64_t all) const override;
  void require_same(std::string_view name, const at::Tensor& x) const override;

  // Of a program that was made with this seam, once: what several ranks have but each uses for its
  // own heads only gets the sum of their gradients. These are the norms of heads, and keys and
  // values where there are fewer of those than ranks; all else has equal gradients on every rank
  // that holds it, to the bit.
  void share_gradients(const models::Program& program) const;

 private:
  const comm::Communicator group_;
  const comm::Communicator kv_group_;  // of these, the ranks with the same keys and values
  mutable std::mutex mutex_;
  mutable std::set<std::string, std::less<>> compared_;
};

}  // namespace hydrofoil::parallel
