// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/io/hash.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <utility>
#include <vector>

namespace hydrofoil::io::hash_test {
namespace {

std::vector<std::byte> pattern(size_t n) {
  std::vector<std::byte> bytes(n);
  for (size_t i = 0; i < n; ++i) bytes[i] = static_cast<std::byte>(i * 131 + 7);
  return bytes;
}

// Digests by the Python package xxhash 4.1.0 (xxh3_128_hexdigest); the lengths fall on both sides
// of the algorithm's own cases (0, 1-16, 17-128, 129-240, longer).
TEST(Hash, EqualsTheReferenceImplementation) {
  const std::pair<size_t, const char*> known[] = {
      {0, "99aa06d3014798d86001c324468d497f"},      {1, "495b62073ef70ca44c5cca45d0f4811f"},
      {17, "66fc23f6439dbd778d96ef110fcdebb4"},     {97, "9cfc8c7d6e7815c8bb385623e598c6d4"},
      {240, "5293e17bf553903d3f2c53e72293711f"},    {241, "b53840fe3fedf161956cae592c67279e"},
      {1000003, "e5fd6e3199c1a84feef8740468e373bb"}};
  for (const auto& [n, digest] : known) EXPECT_EQ(hash_of(pattern(n)), digest) << n;
  EXPECT_EQ(hash_of(std::string_view("hydrofoil")), "494d3d7d6eda5a2b8656913f78021565");
}

TEST(Hasher, DoesNotDependOnHowTheBytesArrive) {
  const std::vector<std::byte> bytes = pattern(1000003);
  for (const size_t piece : {size_t{1} << 20, size_t{4096}, size_t{97}, size_t{1}}) {
    Hasher hasher;
    for (size_t at = 0; at < bytes.size(); at += piece)
      hasher.add(std::span(bytes).subspan(at, std::min(piece, bytes.size() - at)));
    EXPECT_EQ(hasher.digest(), hash_of(bytes)) << piece;
  }
  EXPECT_EQ(Hasher().digest(), hash_of(std::string_view()));
}

}  // namespace
}  // namespace hydrofoil::io::hash_test
