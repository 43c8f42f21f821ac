// SPDX-License-Identifier: Apache-2.0
// DeepSpeed's elastic batch: one global batch that many numbers of ranks can divide, so that a run
// goes on with more or fewer ranks and the same updates.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "hydrofoil/config/batch.h"
#include "hydrofoil/config/deepspeed.h"

namespace hydrofoil::config {

struct ElasticTable {
  int64_t train_batch_size = 0;    // sequences
  std::vector<int64_t> ranks;      // that divide it, ascending
  std::string ranks_text() const;  // "1, 2, 4 ranks"
};

// The batch at most max_train_batch_size with the most numbers of ranks. Candidates are each
// micro-batch size and their least common multiple times the largest highly composite number that
// fits; ranks are the divisors of batch / micro-batch. `version` 0.2 counts in whole nodes.
// Error(kConfig) for a micro-batch size above the largest batch.
ElasticTable elastic_table(const ElasticityConfig& config);

// The sizes on `ranks` ranks; the micro-batch is the largest that divides a rank's share.
// Error(kConfig) with the legal numbers of ranks for one that is not among them: DeepSpeed's
// version 0.2 would change the batch instead, and with it the updates.
BatchSizes elastic_batch(const ElasticityConfig& config, int64_t ranks);

}  // namespace hydrofoil::config
