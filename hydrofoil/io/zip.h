// SPDX-License-Identifier: Apache-2.0
// The table of contents of a ZIP archive whose entries are stored, not compressed: what PyTorch
// writes. Zip64 included.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace hydrofoil::io {

struct ZipEntry {
  std::string name;
  uint64_t offset = 0;  // of the first byte of its data, from the beginning of the file
  uint64_t bytes = 0;
};

// file: all of its bytes. Entries in the order of the directory; no name twice; each inside the
// file and apart from the others. Error(kCheckpoint) with `where` and the byte, also for entries
// that are compressed or encrypted.
std::vector<ZipEntry> read_zip(std::span<const std::byte> file, const std::string& where);

}  // namespace hydrofoil::io
