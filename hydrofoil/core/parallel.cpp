// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/core/parallel.h"

#include <algorithm>
#include <exception>

#ifdef _OPENMP
#include <omp.h>
#endif

namespace hydrofoil {

#ifdef _OPENMP
void set_compute_threads(int threads) {
  omp_set_num_threads(std::max(threads, 1));
}
int compute_threads() {
  return omp_get_max_threads();
}
#else
void set_compute_threads(int) {}
int compute_threads() {
  return 1;
}
#endif

void parallel_for(size_t n, size_t grain, const std::function<void(size_t, size_t)>& body) {
  if (n == 0) return;
  grain = std::max<size_t>(grain, 1);
  const size_t pieces = (n + grain - 1) / grain;
  const size_t threads = std::min<size_t>(static_cast<size_t>(compute_threads()), pieces);
  if (threads <= 1) return body(0, n);
  std::exception_ptr error;
#ifdef _OPENMP
#pragma omp parallel for num_threads(threads) schedule(static, 1)
#endif
  for (size_t t = 0; t < threads; ++t) {
    try {
      const size_t begin = std::min(n, pieces * t / threads * grain);
      const size_t end = std::min(n, pieces * (t + 1) / threads * grain);
      if (begin < end) body(begin, end);
    } catch (...) {
#ifdef _OPENMP
#pragma omp critical(hydrofoil_parallel_error)
#endif
      error = std::current_exception();
    }
  }
  if (error) std::rethrow_exception(error);
}

}  // namespace hydrofoil
