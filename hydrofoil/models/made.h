// SPDX-License-Identifier: Apache-2.0
// What a product takes. For the gradient of its weight a product keeps its input; what a norm or an
// activation made is not kept but made again, of what these keep anyway: a pass over memory, where
// the products around it are many. Of a GPT-2 layer 10 H a token stay in place of 16.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <memory>
#include <utility>
#include <vector>

namespace hydrofoil::models {

// How to make a tensor again, with the same bits. The products that take the tensor share it: the
// first that asks in backward makes it, the last lets go of it.
class Recipe {
 public:
  using Make = std::function<at::Tensor(const std::vector<at::Tensor>& of)>;
  explicit Recipe(Make make) : make_(std::move(make)) {}

  void add_user() { ++users_; }  // a product that will ask once
  at::Tensor make(const std::vector<at::Tensor>& of) {
    if (!made_.defined()) made_ = make_(of);
    if (++asked_ < users_) return made_;
    asked_ = 0;
    return std::exchange(made_, at::Tensor());
  }

 private:
  Make make_;
  int users_ = 0, asked_ = 0;
  at::Tensor made_;
};

struct Made {
  Made(at::Tensor tensor) : value(std::move(tensor)) {}  // implicit: kept as it is
  Made(at::Tensor tensor, std::vector<at::Tensor> ingredients, Recipe::Make make)
      : value(std::move(tensor)),
        of(std::move(ingredients)),
        recipe(std::make_shared<Recipe>(std::move(make))) {}

  // The same numbers in another tensor, such as a view.
  Made as(at::Tensor tensor) const {
    Made other = *this;
    other.value = std::move(tensor);
    return other;
  }

  at::Tensor value;
  std::vector<at::Tensor> of;      // what is kept in its place
  std::shared_ptr<Recipe> recipe;  // null: the value is kept
};

}  // namespace hydrofoil::models
