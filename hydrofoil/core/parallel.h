// SPDX-License-Identifier: Apache-2.0
// The compute threads of one rank: OpenMP's, so that kernels and libtorch share one pool.
#pragma once

#include <cstddef>
#include <functional>

namespace hydrofoil {

// Threads that parallel_for uses when called from this thread. Ranks may be threads of one process:
// each sets its own.
void set_compute_threads(int threads);
int compute_threads();

// Calls body(begin, end) over disjoint ranges that cover [0, n), each a multiple of `grain` long
// (but for the last) so that cut points do not depend on the data. Serial when n <= grain.
void parallel_for(size_t n, size_t grain,
                  const std::function<void(size_t begin, size_t end)>& body);

}  // namespace hydrofoil
