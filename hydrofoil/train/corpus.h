// SPDX-License-Identifier: Apache-2.0
// The text of a run as samples: tokenizer, packed files, batches.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "hydrofoil/comm/communicator.h"
#include "hydrofoil/config/run.h"
#include "hydrofoil/spec/model_spec.h"
#include "hydrofoil/train/samples.h"

namespace hydrofoil::train {

struct Corpus {
  std::filesystem::path tokenizer_file;  // a copy in the output
  std::unique_ptr<Samples> train;
  struct Held {
    std::string name;
    std::unique_ptr<Samples> samples;
  };
  std::vector<Held> eval;
};

// Rank 0 makes <output>/tokenizer.json (copied, or trained with the model's vocabulary) and packs
// the texts into <output>/data; files that are current are kept. Texts with classes are read by
// every rank. Collective.
Corpus prepare_corpus(const comm::Communicator& group, const config::RunConfig& run,
                      const spec::ModelSpec& spec);

}  // namespace hydrofoil::train
