// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/train/flight_file.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <iterator>
#include <nlohmann/json.hpp>
#include <string>

#include "hydrofoil/io/file.h"
#include "tests/support/ranks.h"
#include "tests/support/scratch.h"

namespace hydrofoil::train::flight_file_test {
namespace {

namespace fs = std::filesystem;

// A rank that was stopped tells, once it goes on, of how it ended, not of where it had stood.
TEST(FlightFile, TheFirstAccountOfAFailureIsKept) {
  const test::Scratch scratch;
  const fs::path file = scratch / "flight.json";
  const auto kept = [&] { return nlohmann::json::parse(io::read_text(file)); };
  test::run_ranks(1, [&](const comm::Communicator& group) {
    const Error cause(ExitCode::kTimeout, "waited 6 s for rank 1");
    const Error consequence(ExitCode::kPeerFailed, "rank 0 ended");
    for (const Error& error : {cause, consequence}) {
      const Error said = keep_flight_record(group, scratch.path(), error);
      EXPECT_EQ(said.code(), error.code());
      EXPECT_NE(said.hint().find(file.string()), std::string::npos) << said.hint();
      EXPECT_EQ(kept()["error"], cause.line());
    }
    EXPECT_EQ(std::distance(fs::directory_iterator(scratch.path()), {}), 1) << "files left behind";

    // Another run in this folder.
    drop_flight_record(scratch.path());
    EXPECT_FALSE(fs::exists(file));
    drop_flight_record(scratch.path());
    keep_flight_record(group, scratch.path(), consequence);
    EXPECT_EQ(kept()["error"], consequence.line());
  });
}

}  // namespace
}  // namespace hydrofoil::train::flight_file_test
