// SPDX-License-Identifier: Apache-2.0
// AVX-512 with VNNI: the same packs; dot4.h has what differs.
#pragma once

#include "hydrofoil/kernels/vec_avx512.h"
