// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/checkpoint/folder.h"

#include <algorithm>
#include <cstdio>
#include <utility>

#include "hydrofoil/checkpoint/agreement.h"
#include "hydrofoil/core/error.h"
#include "hydrofoil/core/log.h"
#include "hydrofoil/io/file.h"

namespace hydrofoil::checkpoint {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kPrefix = "step-";
constexpr std::string_view kAside = ".tmp-";

// The step of a folder's name, if it is one.
std::optional<int64_t> step_of(const std::string& name) {
  if (!name.starts_with(kPrefix)) return std::nullopt;
  const std::string digits = name.substr(kPrefix.size());
  if (digits.empty() || digits.size() > 18 ||
      digits.find_first_not_of("0123456789") != std::string::npos)
    return std::nullopt;
  return std::stoll(digits);
}

bool is_left_over(const std::string& name) {
  return name.find(kAside) != std::string::npos &&
         (name.starts_with(kPrefix) || name.starts_with(kLatestName));
}

std::vector<std::string> names_in(const fs::path& root) {
  std::vector<std::string> names;
  std::error_code error;
  for (fs::directory_iterator it(root, error), end; !error && it != end; it.increment(error))
    names.push_back(it->path().filename().string());
  return names;
}

// By step, newest first.
std::vector<std::pair<int64_t, std::string>> steps_in(const fs::path& root) {
  std::vector<std::pair<int64_t, std::string>> steps;
  for (const std::string& name : names_in(root))
    if (const auto step = step_of(name)) steps.emplace_back(*step, name);
  std::sort(steps.rbegin(), steps.rend());
  return steps;
}

void require_size(const fs::path& path, uint64_t expected) {
  const uint64_t actual = io::File(path, io::Access::kRead).size_bytes();
  if (actual != expected)
    throw Error(ExitCode::kCheckpoint,
                "has " + std::to_string(actual) + " bytes, expected " + std::to_string(expected),
                path.string(), "the checkpoint is damaged; use another one");
}

// Why a folder is no complete checkpoint; empty when it is one. NewerFormat passes through.
std::string incompleteness(const fs::path& folder) {
  std::error_code error;
  if (!fs::exists(folder / kManifestName, error)) return "has no manifest";
  try {
    read_complete(folder);
  } catch (const NewerFormat&) {
    throw;
  } catch (const Error& problem) {
    return problem.line();
  }
  return {};
}

std::optional<fs::path> named_by_latest(const fs::path& root) {
  std::error_code error;
  if (!fs::exists(root / kLatestName, error)) return std::nullopt;
  const std::string name = latest_name(root);
  const std::string why = name.empty() ? "it is damaged" : incompleteness(root / name);
  if (why.empty()) return root / name;
  log::warn((root / kLatestName).string() + " names no complete checkpoint: " + why);
  return std::nullopt;
}

void remove_folder(const fs::path& path) {
  std::error_code error;
  fs::remove_all(path, error);
  if (error) log::warn("cannot remove " + path.string() + ": " + error.message());
}

}  // namespace

std::string step_name(int64_t step) {
  char name[32];
  std::snprintf(name, sizeof(name), "step-%08lld", static_cast<long long>(step));
  return name;
}

std::string latest_name(const fs::path& root) {
  try {
    std::string name = io::read_text(root / kLatestName, 256);
    name.erase(name.find_last_not_of(" \r\n") + 1);
    if (step_of(name)) return name;
  } catch (const Error&) {
  }
  return {};
}

Manifest read_complete(const fs::path& folder) {
  Manifest manifest;
  as_checkpoint_errors([&] {
    const fs::path path = folder / kManifestName;
    std::error_code error;
    if (!fs::is_directory(folder, error))
      throw Error(ExitCode::kCheckpoint, "is no folder", folder.string());
    if (!fs::exists(path, error))
      throw Error(ExitCode::kCheckpoint, "is not a complete checkpoint: it has no manifest.json",
                  folder.string(),
                  "its save was interrupted; give the folder above it to use the newest complete "
                  "one");
    manifest = parse_manifest(io::read_text(path), path.string());
    for (const auto& [name, file] : manifest.files) require_size(folder / name, file.bytes);
    for (const auto& [name, text] : manifest.texts) require_size(folder / name, text.bytes);
  });
  return manifest;
}

fs::path checkpoint_root(const fs::path& path) {
  std::error_code error;
  const fs::path inside = path / "checkpoints";
  return fs::is_directory(inside, error) ? inside : path;
}

fs::path resolve(const fs::path& path) {
  std::error_code error;
  const std::string name = fs::path(path.has_filename() ? path : path.parent_path()).filename();
  if (fs::exists(path / kManifestName, error) || step_of(name) || is_left_over(name)) return path;
  if (const auto found = latest_complete(checkpoint_root(path))) return *found;
  throw Error(ExitCode::kCheckpoint,
              fs::is_directory(path, error) ? "holds no complete checkpoint" : "is no folder",
              path.string(), "give a folder step-NNNNNNNN or one that holds such folders");
}

std::optional<fs::path> latest_complete(const fs::path& root) {
  if (const auto named = named_by_latest(root)) return named;
  for (const auto& [step, name] : steps_in(root)) {
    const std::string why = incompleteness(root / name);
    if (why.empty()) return root / name;
    log::warn((root / name).string() + " is passed over: " + why);
  }
  return std::nullopt;
}

void prune(const fs::path& root, int64_t step, int keep) {
  int seen = 0;
  for (const auto& [older, name] : steps_in(root)) {
    if (keep <= 0 || older > step) continue;
    try {
      if (!incompleteness(root / name).empty()) continue;  // not ours to judge
    } catch (const Error&) {
      continue;
    }
    if (++seen <= keep) continue;
    // Under a name that is not a checkpoint's it can be removed bit by bit.
    const fs::path doomed = root / (name + std::string(kAside) + io::unique_id());
    std::error_code error;
    fs::rename(root / name, doomed, error);
    if (error) log::warn("cannot remove " + (root / name).string() + ": " + error.message());
  }
  for (const std::string& name : names_in(root))
    if (is_left_over(name)) remove_folder(root / name);
}

}  // namespace hydrofoil::checkpoint
