// SPDX-License-Identifier: Apache-2.0
// AVX-512 with products of bf16: the same packs; dot2.h has what differs.
#pragma once

#include "hydrofoil/kernels/vec_avx512.h"
