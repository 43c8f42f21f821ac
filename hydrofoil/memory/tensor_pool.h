// SPDX-License-Identifier: Apache-2.0
// Memory of libtorch's large tensors: of a training step that is always the same, so a step finds
// the pages of the one before.
#pragma once

namespace hydrofoil::memory {

// From now on, to the end of the process, new CPU tensors of 256 KiB and more come from a
// BufferPool, smaller ones from where they came before. No more is mapped than was alive at one
// time: where no idle buffer has the size of a new tensor, others make room for it. (The C library
// keeps blocks of up to 32 MiB in one heap, where those that live on leave holes: 200 MiB of a
// recomputed GPT-2.) For programs that own their process; a second call changes nothing.
void pool_tensors();

}  // namespace hydrofoil::memory
