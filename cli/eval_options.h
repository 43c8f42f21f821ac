// SPDX-License-Identifier: Apache-2.0
// What `hydrofoil eval` takes for any model; decoders have more (eval_command.cpp).
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <string>

#include "cli/model_arguments.h"
#include "hydrofoil/data/token_file.h"
#include "hydrofoil/spec/model_spec.h"
#include "hydrofoil/text/tokenizer.h"

namespace hydrofoil::cli {

struct EvalArguments : ModelArguments {
  std::string text;
  int64_t length = 0, sequences = 4;
  bool json = false;
};
void add_eval_options(CLI::App* command, EvalArguments& arguments);

// Tokens of a window.
int64_t window_of(const EvalArguments& arguments, const spec::ModelSpec& spec);
// Of a text, in a file that is gone from its folder already; the mapping keeps it.
data::TokenFile tokens_of_text(const std::string& text, const text::Tokenizer& tokenizer);

}  // namespace hydrofoil::cli
