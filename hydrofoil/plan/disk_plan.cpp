// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/plan/disk_plan.h"

#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <map>

#include "hydrofoil/core/error.h"
#include "hydrofoil/io/file.h"
#include "hydrofoil/plan/file_plan.h"
#include "hydrofoil/plan/memory_plan.h"

namespace hydrofoil::plan {

namespace fs = std::filesystem;

Disk disk_at(const std::string& folder) {
  const uint64_t free = io::free_space_bytes(folder);  // an Error for what is not there
  struct stat info{};
  if (::stat(folder.c_str(), &info) != 0)
    throw Error(ExitCode::kError, errno_message("cannot look at the folder"), folder);
  return {.folder = folder,
          .device = info.st_dev,
          .free_bytes = free,
          .kind = std::string(io::not_a_local_disk(folder))};
}

Disk disk_above(const std::string& folder) {
  std::error_code ignored;
  fs::path there = fs::absolute(folder, ignored);
  while (!fs::exists(there, ignored) && there.has_relative_path()) there = there.parent_path();
  Disk disk = disk_at(there.string());
  disk.folder = folder;
  return disk;
}

std::vector<DiskUse> plan_disks(const Model& model, const RunShape& run, const Disks& disks,
                                int ranks_on_host) {
  const FilePlan files = plan_files(model, run);
  const auto ranks = static_cast<uint64_t>(ranks_on_host);
  const uint64_t places = run.takes_back() ? 2 : 1;  // of a piece
  std::map<uint64_t, DiskUse> uses;
  const auto add = [&](const std::optional<Disk>& disk, uint64_t bytes) {
    if (!disk || bytes == 0) return;
    DiskUse& use = uses[disk->device];
    if (std::ranges::find(use.folders, disk->folder) == use.folders.end())
      use.folders.push_back(disk->folder);
    use.kind = disk->kind;
    use.free_bytes = disk->free_bytes;
    use.needed_bytes += bytes;
  };
  add(disks.states, ranks * (places * files.optimizer.kept + files.gradients.kept));
  add(disks.parameters, ranks * places * files.parameters.kept);
  add(disks.activations, ranks * plan_memory(model, run).activation_files);
  add(disks.output, static_cast<uint64_t>(run.checkpoints) * checkpoint_bytes(model, run));
  std::vector<DiskUse> result;
  for (auto& [device, use] : uses) result.push_back(std::move(use));
  return result;
}

}  // namespace hydrofoil::plan
