// SPDX-License-Identifier: Apache-2.0
// A folder for one test, and a way to look at the error something ends with.
#pragma once

#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <string>

#include "hydrofoil/core/error.h"
#include "hydrofoil/io/file.h"

namespace hydrofoil::io {

class Scratch {
 public:
  Scratch() : path_(std::filesystem::temp_directory_path() / ("hydrofoil-io-" + unique_id())) {
    std::filesystem::create_directories(path_);
  }
  ~Scratch() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  std::filesystem::path operator/(const std::string& name) const { return path_ / name; }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

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
