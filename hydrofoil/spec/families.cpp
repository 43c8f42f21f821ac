// SPDX-License-Identifier: Apache-2.0
#include <stdexcept>

#include "hydrofoil/spec/family.h"

namespace hydrofoil::spec {

std::span<const Family> families() {
  static const std::vector<Family> all = [] {
    auto list = gpt_like_families();
    for (auto& family : llama_like_families()) list.push_back(std::move(family));
    for (auto& family : encoder_families()) list.push_back(std::move(family));
    return list;
  }();
  return all;
}

const Family* find_family(const std::string& name) {
  for (const auto& family : families())
    if (name == family.name) return &family;
  return nullptr;
}

const Family& family_of(const ModelSpec& spec) {
  if (const auto* family = find_family(spec.family)) return *family;
  throw std::logic_error("no such model family: " + spec.family);
}

}  // namespace hydrofoil::spec
