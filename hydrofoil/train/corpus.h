// SPDX-License-Identifier: Apache-2.0
// The text of a run as tokens: tokenizer, packed files, samplers.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "hydrofoil/comm/communicator.h"
#include "hydrofoil/config/run.h"
#include "hydrofoil/data/sampler.h"
#include "hydrofoil/data/token_file.h"
#include "hydrofoil/models/program.h"
#include "hydrofoil/text/tokenizer.h"

namespace hydrofoil::train {

struct Corpus {
  std::filesystem::path tokenizer_file;  // a copy in the output
  data::TokenFile train;
  struct Held {
    std::string name;
    data::TokenFile tokens;
  };
  std::vector<Held> eval;
};

// Rank 0 makes <output>/tokenizer.json (copied, or trained with vocab_size tokens) and packs the
// texts into <output>/data; files that are current are kept. Collective.
Corpus prepare_corpus(const comm::Communicator& group, const config::RunConfig& run,
                      int64_t vocab_size);

// Samples [first, first + count) of the endless shuffled order as tensors [count, T].
models::Batch sample_batch(const data::Sampler& sampler, int64_t first, int64_t count);

}  // namespace hydrofoil::train
