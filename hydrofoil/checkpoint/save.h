// SPDX-License-Identifier: Apache-2.0
// Writes a checkpoint so that at every moment the old one or the new one is complete on disk.
//
//   1  all ranks tell what they own; gaps and double ownership are found before a byte is written
//   2  rank 0 makes step-N.tmp-<id>/ with texts, headers and all blocks of all files reserved
//   3  every rank writes its fragments where they belong, hashes them, and syncs
//   4  ranks share the tensors, read them back, hash them, and compare with what was to be written
//   5  rank 0 writes manifest.json, renames the folder to step-N, then lets `latest` name it, then
//      removes older checkpoints
//
// Nothing is gathered. The cost on a rank is one pass over its own memory and its share of reading
// the files back (from the page cache).
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>

#include "hydrofoil/checkpoint/copy_buffer.h"
#include "hydrofoil/checkpoint/layout.h"
#include "hydrofoil/checkpoint/snapshot.h"
#include "hydrofoil/comm/communicator.h"

namespace hydrofoil::checkpoint {

struct SaveOptions {
  std::filesystem::path root;  // made when missing; all ranks see the same one
  int keep = 2;                // complete checkpoints that stay, this one included; 0: all
  std::string created_by = "hydrofoil";
  uint64_t max_file_bytes = kMaxFileBytes;  // the same on all ranks; layout.h says how files split
};

// Collective; returns root/step-N. When a rank fails (full disk, no rights), all ranks throw
// Error(kCheckpoint) with path and cause, what was written is removed, and the older checkpoints
// are as they were: training may go on. An existing step-N is replaced. std::logic_error on all
// ranks, naming the tensor, for a snapshot that is not one (snapshot.h).
std::filesystem::path save(const comm::Communicator& group, const Snapshot& snapshot,
                           const SaveOptions& options);

// The same where the bytes come from elsewhere: `feed` gives those of this rank's fragments, which
// are numbered in the order of the snapshot, one after the other. Only their sizes are read there.
using FragmentFeed = std::function<void(const FragmentSink&)>;
std::filesystem::path save(const comm::Communicator& group, const Snapshot& snapshot,
                           const SaveOptions& options, const FragmentFeed& feed);

}  // namespace hydrofoil::checkpoint
