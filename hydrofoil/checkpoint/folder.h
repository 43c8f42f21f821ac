// SPDX-License-Identifier: Apache-2.0
// The folder of a run's checkpoints: step-00000100/, step-00000200/, latest.
//
// What is being written is called step-00000300.tmp-<id>; it takes its name when it is complete.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "hydrofoil/checkpoint/manifest.h"

namespace hydrofoil::checkpoint {

constexpr const char* kLatestName = "latest";
// Of a run: the weights under Hugging Face's names, and what the optimizer keeps of each of them,
// "exp_avg.<name>", "master.<name>", "average.<name>".
constexpr const char* kModelFile = "model.safetensors";
constexpr const char* kOptimizerFile = "optimizer.safetensors";
constexpr const char* kAverageKind = "average";

std::string step_name(int64_t step);  // "step-00000100"

// The checkpoint that `latest` names ("step-00000100"); empty when it is missing or damaged.
std::string latest_name(const std::filesystem::path& root);

// The manifest of a complete checkpoint: it is sound, and all files it lists have their sizes.
// Error(kCheckpoint) says what is wrong. Contents are not read; verify() does.
Manifest read_complete(const std::filesystem::path& folder);

// Where a run keeps its checkpoints: the folder "checkpoints" of its output, or the path itself
// when it holds no such folder.
std::filesystem::path checkpoint_root(const std::filesystem::path& path);

// The checkpoint that a path means: itself, or, for the folder of a run, the one that `latest`
// names, otherwise the newest complete one (with a warning). Error(kCheckpoint) when there is none,
// and when the one to take was made by a newer Hydrofoil: an older one would silently lose work.
std::filesystem::path resolve(const std::filesystem::path& path);

// As resolve() of a run's folder; nothing when there is no complete checkpoint or no such folder.
std::optional<std::filesystem::path> latest_complete(const std::filesystem::path& root);

// Removes complete checkpoints older than `step` so that at most `keep` up to it remain (0: all
// stay), and what interrupted saves have left. Never fails: what cannot be removed is warned of.
void prune(const std::filesystem::path& root, int64_t step, int keep);

}  // namespace hydrofoil::checkpoint
