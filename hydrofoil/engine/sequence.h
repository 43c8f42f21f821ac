// SPDX-License-Identifier: Apache-2.0
// One text on its way through the engine, as the scheduler sees it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "hydrofoil/engine/page_pool.h"

namespace hydrofoil::engine {

struct Sequence {
  uint64_t id = 0;                   // in the order of arrival
  std::vector<int32_t> tokens = {};  // the prompt, then what was generated
  int priority = 0;                  // higher ones go first
  uint64_t scope = 0;                // of pages it may share
  bool share = true;

  // The scheduler's.
  size_t done = 0;  // tokens whose keys and values are in the pages, or will be after this step
  PageTable table = {};
  int64_t rank = 0;  // smaller ones go first
  int passed = 0;    // later sequences that began before it

  size_t left() const { return tokens.size() - done; }
};

}  // namespace hydrofoil::engine
