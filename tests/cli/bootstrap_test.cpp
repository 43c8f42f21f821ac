// SPDX-License-Identifier: Apache-2.0
// What scripts/bootstrap.sh says on a machine where nothing is installed: a PATH with a shell, the
// small tools every system has, and stand-ins that must not be asked for more than they are.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <array>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <string>

namespace hydrofoil::cli::bootstrap_test {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

class Bootstrap : public testing::Test {
 protected:
  void SetUp() override {
    fs::remove_all(bin_);
    fs::create_directories(bin_);
    for (const char* tool : {"bash", "dirname", "sed", "sort", "head", "grep", "env"})
      for (const fs::path folder : {"/usr/bin", "/bin"})
        if (fs::exists(folder / tool) && !fs::exists(bin_ / tool))
          fs::create_symlink(folder / tool, bin_ / tool);
    stand_in("id", "echo 1000");
  }
  void TearDown() override { fs::remove_all(bin_); }

  void stand_in(const std::string& tool, const std::string& body) {
    std::ofstream(bin_ / tool) << "#!/usr/bin/env bash\n" << body << "\n";
    fs::permissions(bin_ / tool, fs::perms::owner_all);
  }

  // Output and exit code.
  std::pair<std::string, int> run(const std::string& arguments) {
    const std::string command = "env -i PATH='" + bin_.string() + "' '" + bin_.string() +
                                "/bash' " HYDROFOIL_SOURCE "/scripts/bootstrap.sh " + arguments +
                                " 2>&1";
    FILE* pipe = popen(command.c_str(), "r");
    std::string out;
    std::array<char, 4096> chunk;
    for (size_t n; (n = fread(chunk.data(), 1, chunk.size(), pipe)) > 0;)
      out.append(chunk.data(), n);
    return {out, WEXITSTATUS(pclose(pipe))};
  }

  const fs::path bin_ = testing::TempDir() + "hydrofoil_bare_path";
};

TEST_F(Bootstrap, NamesEveryPackageThatIsMissingAndWhy) {
  const auto [out, code] = run("--check");
  EXPECT_EQ(code, 1);
  for (const char* package : {"g++", "cmake", "ninja-build", "nlohmann-json3-dev", "libcli11-dev",
                              "libgtest-dev", "python3-venv"})
    EXPECT_THAT(out, HasSubstr("  " + std::string(package) + " "));
  EXPECT_THAT(out, HasSubstr("needs root"));
}

TEST_F(Bootstrap, GivesAUserWithoutRootTheCommandToRun) {
  stand_in("apt-get", "echo must not be called");
  stand_in("sudo", "exit 1");  // asks for a password
  const auto [out, code] = run("");
  EXPECT_EQ(code, 1);
  EXPECT_THAT(
      out, HasSubstr(
               "sudo apt-get update && sudo apt-get install -y --no-install-recommends g++ cmake"));
  EXPECT_THAT(out, Not(HasSubstr("must not be called")));
}

TEST_F(Bootstrap, InstallsAsRootAndSaysWhatIsStillMissing) {
  stand_in("id", "echo 0");
  stand_in("apt-get", "echo apt-get \"$@\"");  // installs nothing
  const auto [out, code] = run("");
  EXPECT_EQ(code, 1);
  EXPECT_THAT(out, HasSubstr("apt-get update"));
  EXPECT_THAT(out,
              HasSubstr("apt-get install -y -qq --no-install-recommends g++ cmake ninja-build"));
  EXPECT_THAT(out, HasSubstr("still missing"));
}

TEST_F(Bootstrap, ListsTheNeedsOfASystemWithoutApt) {
  const auto [out, code] = run("");
  EXPECT_EQ(code, 1);
  EXPECT_THAT(out, HasSubstr("has no apt-get"));
}

}  // namespace
}  // namespace hydrofoil::cli::bootstrap_test
