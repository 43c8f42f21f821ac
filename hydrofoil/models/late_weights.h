// SPDX-License-Identifier: Apache-2.0
// Gradients of matrices apart from those of what they multiply: whoever waits for the latter has
// them sooner, and the former fill time in which there is nothing else to do.
//
//   LateWeights late;
//   {
//     const LateWeights::Scope scope(&late);
//     loss.backward();   // gradients of inputs, and of parameters that are not matrices of layers
//   }
//   late.finish();       // the rest of them; the same bits
//
// Until then what the products took and the gradients of what they gave are kept. Feed-forwards
// that work on some rows at a time, embeddings and heads do not put anything off.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <utility>
#include <vector>

namespace hydrofoil::models {

class LateWeights {
 public:
  // Backward passes of this thread, meanwhile, put off into `late`; null: they put nothing off.
  class Scope {
   public:
    explicit Scope(LateWeights* late);
    ~Scope();
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;

   private:
    LateWeights* before_;
  };
  // What this thread's backward puts off into; null: nothing is put off.
  static LateWeights* of_this_thread();

  void put_off(at::Tensor weight, std::function<at::Tensor()> gradient) {
    waiting_.push_back({std::move(weight), std::move(gradient)});
  }
  // Computes them in the order in which they were put off; each goes where backward would have
  // brought it.
  void finish();

 private:
  struct Waiting {
    at::Tensor weight;
    std::function<at::Tensor()> gradient;
  };
  std::vector<Waiting> waiting_;
};

}  // namespace hydrofoil::models
