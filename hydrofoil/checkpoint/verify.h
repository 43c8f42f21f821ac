// SPDX-License-Identifier: Apache-2.0
// Reads a checkpoint again and compares every byte with the digests of its manifest.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "hydrofoil/checkpoint/layout.h"
#include "hydrofoil/checkpoint/reader.h"
#include "hydrofoil/comm/communicator.h"
#include "hydrofoil/io/file.h"
#include "hydrofoil/io/hash.h"

namespace hydrofoil::checkpoint {

struct Problem {
  std::string file;    // "model.safetensors"
  std::string tensor;  // empty: not the bytes of a tensor
  std::string message;
  std::string line() const;  // "model.safetensors, tensor 'w': ..."
};

// Everything that is wrong with a checkpoint, or with the one that `latest` of a run's folder names
// (no other is taken instead). Uses the compute threads, one a tensor. Error(kCheckpoint) only when
// there is nothing to look at, or a newer Hydrofoil made it.
std::vector<Problem> verify(const std::filesystem::path& path);

// The checkpoint that verify() looks at.
std::filesystem::path verified_folder(const std::filesystem::path& path);

// Error(kCheckpoint) on all ranks, naming file and tensor, when a tensor of `file` does not match
// its digest. Collective: ranks share the tensors. After it the page cache is warm for read().
void require_intact(const comm::Communicator& group, const Reader& reader, const std::string& file);

// By index of a rank's fragments, or by tensor.
using Digests = std::vector<std::string>;

// The digest of a tensor as it stands in the file, after each piece was compared with the digest
// its owner made of its memory (`written`, by rank). Error(kCheckpoint) when one differs.
std::string read_back(const io::File& file, const PlannedTensor& tensor,
                      std::span<const Digests> written);

// The digest of bytes [offset, offset + bytes) of a file.
std::string hash_range(const io::File& file, uint64_t offset, uint64_t bytes);

}  // namespace hydrofoil::checkpoint
