// SPDX-License-Identifier: Apache-2.0
// A folder with a random tiny model and a tokenizer of bytes, and the program run on it.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "hydrofoil/io/safetensors.h"
#include "hydrofoil/spec/model_spec.h"
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

  // Another model in place of the tiny one: random numbers up to `largest`, or with 0 a file of
  // zeros that takes no room. Tensors whose names begin with `prefix` are written, without it.
  void replace_model(const std::string& config, float largest,
                     const std::string& prefix = {}) const {
    std::ofstream(folder_ / "config.json") << config;
    std::vector<io::TensorSpec> tensors;
    for (const auto& block : spec::blocks(spec::model_spec_from_hf(config, "config")))
      for (const auto& parameter : block.parameters)
        if (parameter.name.starts_with(prefix))
          tensors.push_back({parameter.name.substr(prefix.size()), DType::kF32, parameter.shape});
    const auto plan = io::plan_safetensors(tensors);
    const auto path = folder_ / "model.safetensors";
    std::ofstream file(path, std::ios::binary);
    file << plan.header;
    uint32_t state = 1;
    for (size_t at = plan.header.size(); largest > 0 && at + 4 <= plan.file_bytes; at += 4) {
      state = state * 1664525u + 1013904223u;
      const float value = static_cast<float>(static_cast<int32_t>(state)) * 0x1p-31f * largest;
      file.write(reinterpret_cast<const char*>(&value), sizeof value);
    }
    file.close();
    std::filesystem::resize_file(path, plan.file_bytes);
  }

  const std::filesystem::path folder_;
};

}  // namespace hydrofoil::cli
