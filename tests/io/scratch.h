// SPDX-License-Identifier: Apache-2.0
// Files of a test, and a way to look at the error something ends with.
#pragma once

#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <string>

#include "hydrofoil/core/error.h"
#include "tests/support/scratch.h"

namespace hydrofoil::io {

using test::Scratch;

inline void put(const std::filesystem::path& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
}

inline std::string get(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

// "where: message (hint)" of the Error that `act` ends with, "" when it does not.
inline std::string error_line(const std::function<void()>& act) {
  try {
    act();
  } catch (const Error& error) {
    return error.line();
  }
  return "";
}

}  // namespace hydrofoil::io
