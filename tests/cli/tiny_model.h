// SPDX-License-Identifier: Apache-2.0
// A folder with a random tiny model and a tokenizer of bytes, and the program run on it.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "hydrofoil/text/bpe_trainer.h"
#include "hydrofoil/text/tokenizer_json.h"
#include "tests/cli/program.h"

namespace hydrofoil::cli {

class TinyModel : public testing::Test {
 protected:
  TinyModel()
      : folder_(std::filesystem::path(testing::TempDir()) /
                testing::UnitTest::GetInstance()->current_test_info()->name()) {
    namespace fs = std::filesystem;
    fs::create_directories(folder_);
    for (const char* name : {"config.json", "model.safetensors"})
      fs::copy_file(fs::path(HYDROFOIL_SOURCE) / "tests/models/golden/llama" / name, folder_ / name,
                    fs::copy_options::overwrite_existing);
    text::save_tokenizer(text::BpeTrainer({.vocab_size = 257}).train(), folder_ / "tokenizer.json");
  }
  ~TinyModel() override { std::filesystem::remove_all(folder_); }

  // "COMMAND FOLDER OPTIONS", both outputs.
  Result run(const std::string& command, const std::string& options) const {
    std::string line = command;
    line += " '" + folder_.string() + "' " + options + " 2>&1";
    return hydrofoil(line);
  }
  std::string quoted(const std::string& name) const {
    std::string quoted = "'";
    quoted += (folder_ / name).string() + "'";
    return quoted;
  }
  std::string file(const std::string& name, const std::string& text) const {
    std::ofstream(folder_ / name) << text;
    return quoted(name);
  }

  const std::filesystem::path folder_;
};

}  // namespace hydrofoil::cli
