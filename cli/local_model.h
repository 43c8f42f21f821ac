// SPDX-License-Identifier: Apache-2.0
// A model on this process alone, for the commands that only look at it.
#pragma once

#include "cli/model_arguments.h"
#include "hydrofoil/text/tokenizer.h"
#include "hydrofoil/train/model.h"

namespace hydrofoil::cli {

struct LocalModel {
  text::Tokenizer tokenizer;
  train::Model model;
};

LocalModel load_local_model(const ModelArguments& arguments);

}  // namespace hydrofoil::cli
