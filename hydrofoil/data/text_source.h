// SPDX-License-Identifier: Apache-2.0
// Text files as they are read: checked once, and safe against other programs that shorten them.
#pragma once

#include <cstddef>
#include <functional>
#include <span>
#include <string>
#include <string_view>

namespace hydrofoil::data {

// Calls use(bytes) with all of a source. Error(kData) for one that is missing, a directory, empty,
// or shortened by another program meanwhile: then what `use` saw, and what it found wrong with it,
// does not count.
void with_bytes(const std::string& source,
                const std::function<void(std::span<const std::byte>)>& use);
// The same, of UTF-8 text; else Error(kData) with the byte offset.
void with_text(const std::string& source, const std::function<void(std::string_view)>& use);

// Calls visit(line, number) for each line that is not blank; numbers count from 1.
void for_each_line(std::string_view text,
                   const std::function<void(std::string_view, size_t)>& visit);

}  // namespace hydrofoil::data
