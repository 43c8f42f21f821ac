// SPDX-License-Identifier: Apache-2.0
// The sum over ranks of a buffer that holds a matrix most of whose rows are zero: the gradient of
// an embedding, which has a row for each token that a batch contains.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "hydrofoil/comm/communicator.h"

namespace hydrofoil::zero {

// Where the matrix lies in the buffer. Elements.
struct SparseRows {
  size_t begin = 0, rows = 0, width = 0;
};

// data: on all ranks the sum over ranks 0, 1, .. in this order once the works are done, as an
// all-reduce gives it but for the sign of zeros. Of the matrix only rows that are not zero travel,
// each with its number: with at most R of them on a rank each receives (N - 1) R (4 + 4 width)
// bytes. Where that is not fewer than an all-reduce's 2 (N - 1) / N of the matrix, all of it
// travels. Collective. Finds the rows by looking, one pass over the matrix.
std::vector<comm::Work> sum_sparse_rows(const comm::Communicator& group, std::span<float> data,
                                        const SparseRows& matrix, comm::Label label);

}  // namespace hydrofoil::zero
