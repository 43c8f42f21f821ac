// SPDX-License-Identifier: Apache-2.0
// Element-wise reduction of several buffers in one pass, and copies: what collectives on one host
// are made of. Single-threaded, because the callers are ranks.
//
//   const void* slices[] = {mine, theirs};
//   reduce_sources(out, slices, count, DType::kBF16, Reduction::kSum, bytes > cache_bytes);
//
// `stream` writes with non-temporal stores, which save the read of every written line: right for
// results larger than the caches, wrong for what is read again at once.
#pragma once

#include <cstddef>
#include <span>

#include "hydrofoil/core/dtype.h"
#include "hydrofoil/kernels/reduce_tiers.h"

namespace hydrofoil::kernels {

// out[i] = sources[0][i] op sources[1][i] op .., in that order. bf16 and f16 accumulate in fp32 and
// round once; the other types stay exactly in theirs, integers wrap around, bool sums are "or". A
// maximum or minimum with a NaN is NaN. Same bits on every CPU (but for the payload of NaNs).
// count: elements of each. out may be one of the sources, but must not overlap one otherwise. No
// source: std::logic_error.
void reduce_sources(void* out, std::span<const void* const> sources, size_t count, DType type,
                    Reduction op, bool stream);

// Any alignment; the ranges are equal or do not overlap.
void copy_bytes(void* to, const void* from, size_t bytes, bool stream);

}  // namespace hydrofoil::kernels
