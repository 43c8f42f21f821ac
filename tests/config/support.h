// SPDX-License-Identifier: Apache-2.0
// What the tests of this room share.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "hydrofoil/config/run.h"
#include "hydrofoil/core/error.h"

namespace hydrofoil::config {

// "where: message (hint)" of the Error that `body` throws; "" when it throws none.
template <class F>
std::string error_of(F&& body, ExitCode code = ExitCode::kConfig) {
  try {
    body();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), code) << error.line();
    return error.line();
  }
  return {};
}

// Each problem as it would be printed.
inline std::vector<std::string> lines_of(const Report& report) {
  std::vector<std::string> lines;
  for (const Problem& p : report.problems) {
    lines.push_back(Error(ExitCode::kConfig, p.message, p.place.text(), p.hint).line());
  }
  return lines;
}

inline std::vector<std::string> deepspeed_problems(const std::string& text) {
  Report report;
  read_deepspeed(parse_json(text, "ds.json"), report);
  return lines_of(report);
}

inline DeepSpeedConfig deepspeed_of(const std::string& text) {
  Report report;
  const DeepSpeedConfig config = read_deepspeed(parse_json(text, "ds.json"), report);
  EXPECT_THAT(lines_of(report), testing::IsEmpty());
  return config;
}

}  // namespace hydrofoil::config
