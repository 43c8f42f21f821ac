// SPDX-License-Identifier: Apache-2.0
// A file that others may shorten while it is read, mapped all the same.
//
// Touching a page that has left a mapped file raises SIGBUS, which ends the process. While a
// WatchedMap lives a handler answers for its range: what is missing reads as zeros, and intact()
// tells. Bus errors of any other address go where they went before.
#pragma once

#include <cstddef>
#include <span>

#include "hydrofoil/io/file.h"

namespace hydrofoil::io {

// At most 16 at a time in a process.
class WatchedMap {
 public:
  explicit WatchedMap(File file);
  ~WatchedMap();
  WatchedMap(const WatchedMap&) = delete;
  WatchedMap& operator=(const WatchedMap&) = delete;

  std::span<const std::byte> bytes() const { return map_.bytes(); }
  // Ask after reading: false when the file has become shorter, or a page was found missing.
  bool intact() const;

 private:
  const File file_;
  const MappedFile map_;
  size_t watch_ = 0;
};

}  // namespace hydrofoil::io
