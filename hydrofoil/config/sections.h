// SPDX-License-Identifier: Apache-2.0
// The parts of DeepSpeed's JSON, one function each; internal to this room.
#pragma once

#include <string>
#include <vector>

#include "hydrofoil/config/fields.h"

namespace hydrofoil::config {

// A section of a feature that does not exist here. Its keys are known and typed (by their
// defaults); the one that turns the feature on is refused unless it says "off".
struct UnbuiltSection {
  std::string name;
  std::string what;     // "elastic training", "writing to Comet"
  std::string instead;  // what works
  std::string gate;     // the key that turns it on; empty: the section's presence does
  struct Entry {
    std::string name;
    std::string standard;  // as JSON
    std::string unit = {};
    std::vector<Choice> choices = {};
  };
  std::vector<Entry> keys = {};
  std::vector<UnbuiltSection> sections = {};
};
void visit_unbuilt(Reader& f, const UnbuiltSection& section);

void visit_unbuilt_sections(Reader& f);  // every such section of the top level
void visit_monitors(Reader& f);          // wandb, comet, profilers
void visit_activation_checkpointing(Reader& f);
void visit_checkpoint(Reader& f);

struct RunConfig;
// The axes of a run, wherever and under whichever names they were set, and what else the section of
// pipelines sets: `recompute`.
void merge_mesh(RunConfig& run, Report& report);
// After that: what stages do not go with.
void check_pipeline(const RunConfig& run, Report& report);

}  // namespace hydrofoil::config
