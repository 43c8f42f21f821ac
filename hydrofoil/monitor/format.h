// SPDX-License-Identifier: Apache-2.0
// Numbers as text: exact for programs, short for people.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace hydrofoil::monitor {

// The shortest decimal that reads back as the same double; "nan", "inf" and "-inf" otherwise.
std::string exact(double value);

// File names are bytes; what is not UTF-8 becomes U+FFFD.
std::string valid_utf8(std::string_view text);
// As a JSON string, valid_utf8.
std::string quoted(std::string_view text);

std::string print(const char* format, double value);  // as printf
std::string human_bytes(uint64_t bytes);              // "1023 B", "1.50 KiB", "12.3 GiB"
std::string human_count(double count);                // "999", "12.3k", "1.50M"
std::string human_duration(double seconds);  // "0.41 s", "59 s", "3 min 20 s", "2 h 05 min"

}  // namespace hydrofoil::monitor
