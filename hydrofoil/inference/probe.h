// SPDX-License-Identifier: Apache-2.0
// The two limits of a runner: how fast these threads read memory, and how fast they multiply what
// lies in their caches.
#pragma once

#include "hydrofoil/inference/team.h"
#include "hydrofoil/kernels/packed_matrix.h"

namespace hydrofoil::inference {

struct Speed {
  double read_bytes_per_second = 0;
  double flops_per_second = 0;  // of products with weights in the packing; a multiply-add is two
  double disk_bytes_per_second = 0;  // of layers that are streamed, past the page cache
};

// All threads of the team at once; the best of some rounds, since limits are asked for. About half
// a second, and 256 MiB while it lasts.
Speed measure_speed(Team& team, kernels::Packing packing);

}  // namespace hydrofoil::inference
