// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/core/host.h"

#include <sched.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

namespace hydrofoil::host {
namespace {

namespace fs = std::filesystem;

// "Name:   123 kB" lines of a /proc file, in bytes; 0 when absent.
uint64_t proc_kilobytes(const char* file, std::string_view name) {
  std::ifstream in(file);
  for (std::string line; std::getline(in, line);)
    if (line.starts_with(name) && line.size() > name.size() && line[name.size()] == ':')
      return std::stoull(line.substr(name.size() + 1)) * 1024;
  return 0;
}

std::optional<uint64_t> number_in(const fs::path& file) {
  std::ifstream in(file);
  uint64_t value = 0;
  // No limit is "max" in version 2 and -1 in version 1, which would be read as a huge number.
  if (in.peek() != '-' && in >> value) return value;
  return std::nullopt;
}

// The folders of this process's control group from its own up to the mount, for a controller of
// version 1 (named) or version 2 (empty name).
std::vector<fs::path> cgroup_folders(std::string_view controller) {
  std::ifstream in("/proc/self/cgroup");
  for (std::string line; std::getline(in, line);) {
    const size_t first = line.find(':'), second = line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string names = line.substr(first + 1, second - first - 1);
    std::string path = line.substr(second + 1);
    std::istringstream list(names);
    bool matches = controller.empty() && names.empty();
    for (std::string name; std::getline(list, name, ',');)
      matches |= !controller.empty() && name == controller;
    if (!matches) continue;
    fs::path mount = fs::path("/sys/fs/cgroup") / controller;
    std::vector<fs::path> folders;
    for (fs::path p = path; p.has_relative_path(); p = p.parent_path())
      folders.push_back(mount / p.relative_path());
    folders.push_back(mount);
    return folders;
  }
  return {};
}

struct CgroupMemory {
  std::optional<uint64_t> limit, used;
};

CgroupMemory cgroup_memory() {
  constexpr uint64_t kUnlimited = uint64_t{1} << 62;
  struct Names {
    const char *controller, *limit, *used;
  };
  CgroupMemory result;
  for (const auto& n : {Names{"", "memory.max", "memory.current"},
                        Names{"memory", "memory.limit_in_bytes", "memory.usage_in_bytes"}})
    for (const auto& folder : cgroup_folders(n.controller)) {
      const auto limit = number_in(folder / n.limit);
      if (!limit || *limit >= kUnlimited || (result.limit && *result.limit <= *limit)) continue;
      result.limit = limit;
      result.used = number_in(folder / n.used);
    }
  return result;
}

int cgroup_cores() {
  for (const auto& folder : cgroup_folders("")) {
    std::ifstream in(folder / "cpu.max");
    std::string quota;
    double period = 0;
    if (in >> quota >> period && quota != "max" && period > 0)
      return std::max(1, static_cast<int>(std::ceil(std::stod(quota) / period)));
  }
  for (const auto& folder : cgroup_folders("cpu")) {
    const auto quota = number_in(folder / "cpu.cfs_quota_us"),
               period = number_in(folder / "cpu.cfs_period_us");
    if (quota && period && *period)
      return std::max<int>(1, static_cast<int>((*quota + *period - 1) / *period));
  }
  return 1 << 20;
}

}  // namespace

uint64_t Memory::usable_bytes() const {
  uint64_t usable = available_bytes;
  if (cgroup_limit_bytes) {
    const uint64_t used = std::min(cgroup_used_bytes.value_or(0), *cgroup_limit_bytes);
    usable = std::min(usable, *cgroup_limit_bytes - used);
  }
  return usable;
}

int usable_cores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  int cores = static_cast<int>(std::thread::hardware_concurrency());
  if (sched_getaffinity(0, sizeof set, &set) == 0) cores = CPU_COUNT(&set);
  return std::max(1, std::min(cores, cgroup_cores()));
}

bool multiplies_bf16() {
#if defined(__x86_64__)
  return __builtin_cpu_supports("avx512bf16") || __builtin_cpu_supports("amx-bf16");
#else
  return false;
#endif
}

std::string cpu_model() {
  std::ifstream in("/proc/cpuinfo");
  for (std::string line; std::getline(in, line);)
    if (line.starts_with("model name")) return line.substr(line.find(':') + 2);
  return "unknown CPU";
}

Memory memory() {
  const auto group = cgroup_memory();
  return {.total_bytes = proc_kilobytes("/proc/meminfo", "MemTotal"),
          .available_bytes = proc_kilobytes("/proc/meminfo", "MemAvailable"),
          .cgroup_limit_bytes = group.limit,
          .cgroup_used_bytes = group.used};
}

ProcessMemory process_memory() {
  return {.rss_bytes = proc_kilobytes("/proc/self/status", "VmRSS"),
          .pss_bytes = proc_kilobytes("/proc/self/smaps_rollup", "Pss"),
          .peak_rss_bytes = proc_kilobytes("/proc/self/status", "VmHWM")};
}

std::optional<uint64_t> oom_kills() {
  for (const auto& [controller, file] :
       {std::pair{"", "memory.events"}, std::pair{"memory", "memory.oom_control"}})
    for (const auto& folder : cgroup_folders(controller)) {
      std::ifstream in(folder / file);
      std::string key;
      for (uint64_t value = 0; in >> key >> value;)
        if (key == "oom_kill") return value;
    }
  return std::nullopt;
}

}  // namespace hydrofoil::host
