// SPDX-License-Identifier: Apache-2.0
// Sequences cut over ranks. Around attention, ranks exchange tokens for heads (ulysses.h); where
// there are more ranks than heads, groups of them do, and between the groups keys and values go
// round (ring.h).
#pragma once

#include "hydrofoil/comm/communicator.h"
#include "hydrofoil/models/program.h"
#include "hydrofoil/models/sequence_seam.h"

namespace hydrofoil::parallel {

// The part of every sequence that a rank of `ranks` has; the first ranks take one more token where
// it does not come out even. Decoders' batches; labels are those of the part's tokens.
models::Batch part_of(const models::Batch& whole, int rank, int ranks);

class SequenceAxis final : public models::SequenceSeam {
 public:
  // `group`: the ranks that share sequences, in the order of their parts; `ring` divides their
  // number (head_shares.h: ring_size). Collective.
  SequenceAxis(const comm::Communicator& group, int ring);

  // Error(kConfig) for fewer heads than exchange them, and in a ring for windows, biases and caps.
  at::Tensor mix(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                 const models::Attention& attention,
                 const models::SequencePart& part) const override;

 private:
  const comm::Communicator heads_;  // neighbours that exchange heads
  const comm::Communicator ring_;   // one rank of each such group
};

}  // namespace hydrofoil::parallel
