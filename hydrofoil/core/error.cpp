// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/core/error.h"

#include <cerrno>
#include <cstring>

namespace hydrofoil {

std::string Error::line() const {
  std::string text = where_.empty() ? std::string() : where_ + ": ";
  text += what();
  if (!hint_.empty()) text += " (" + hint_ + ")";
  return text;
}

std::string errno_message(const char* what) {
  return std::string(what) + ": " + std::strerror(errno);
}

}  // namespace hydrofoil
