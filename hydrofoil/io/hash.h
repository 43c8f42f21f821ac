// SPDX-License-Identifier: Apache-2.0
// XXH3-128: finds accidental damage at memory speed. It does not authenticate.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace hydrofoil::io {

// Digests are 32 lower-case hexadecimal digits, the same as `xxh128sum` prints.
class Hasher {
 public:
  Hasher();
  ~Hasher();
  Hasher(Hasher&&) noexcept;
  Hasher& operator=(Hasher&&) noexcept;

  void add(std::span<const std::byte> bytes);
  std::string digest() const;  // of all bytes added so far

 private:
  struct State;  // 64-byte aligned, so it does not live here
  std::unique_ptr<State> state_;
};

std::string hash_of(std::span<const std::byte> bytes);
std::string hash_of(std::string_view text);

}  // namespace hydrofoil::io
