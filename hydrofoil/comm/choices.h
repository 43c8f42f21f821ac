// SPDX-License-Identifier: Apache-2.0
// Which of several ways a group's collectives take, by operation and size, from times that were
// measured (MCR-DL, arXiv 2303.08374), and where the answer is kept.
//
// A way is a backend, or an algorithm over one, that every rank of the group can use; here it is a
// number. The *home* way is the quickest to bring the ranks together: a call that takes another one
// begins there, so ranks that call different things still meet, and say so.
#pragma once

#include <array>
#include <cstddef>
#include <filesystem>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "hydrofoil/comm/communicator.h"

namespace hydrofoil::comm {

class Choices {
 public:
  struct Range {
    size_t up_to_bytes;
    size_t way;
  };

  Choices() = default;  // all of them home, which is way 0
  // Everything by one way, begun at home.
  static Choices always(size_t way, size_t home);
  // What text() wrote about these ways; none for anything else.
  static std::optional<Choices> parse(std::string_view text, std::span<const std::string> ways);

  size_t home() const { return home_; }
  // bytes: of the whole buffer, which all ranks know alike; any number for an all_to_all.
  size_t way_of(Operation op, size_t bytes) const;
  // Ranges of an operation come by size; beyond the last one its way goes on.
  void add(Operation op, Range range);
  void set_home(size_t way) { home_ = way; }
  // One line for home and for each range: "all_reduce 2048 gloo". The last range says "more".
  std::string text(std::span<const std::string> ways) const;

 private:
  size_t home_ = 0;
  std::array<std::vector<Range>, kOperations> ranges_;
};

// Seconds of one such call by each way, begun at `home` where that is another one; the same numbers
// on every rank. Of a barrier: by each way as its own home.
using MeasureWays = std::function<std::vector<double>(Operation op, size_t bytes, size_t home)>;
// Sizes are powers of four, up to the first that takes long; a size in between goes with the nearer
// one. A later way must win by kLeastGain. An all_to_all, whose ranks differ in what they send,
// takes one way for all sizes: that of kAllToAllBytes.
Choices choose_ways(const MeasureWays& measure);
inline constexpr size_t kSmallestProbeBytes = 256, kLargestProbeBytes = size_t{16} << 20;
inline constexpr size_t kAllToAllBytes = size_t{1} << 20;
inline constexpr double kLeastGain = 0.02, kLongCallSeconds = 0.05;

// What choices depend on: `machine`, ranks of each host, names of the ways. One line.
std::string choices_key(const std::string& machine, std::span<const int> ranks,
                        std::span<const std::string> ways);

// Texts by key, in memory and in a file each of a folder. A file that cannot be read or written is
// as if it were not there. Thread-safe.
class ChoiceStore {
 public:
  // folder: may not exist yet; empty: memory only.
  explicit ChoiceStore(std::filesystem::path folder) : folder_(std::move(folder)) {}

  std::optional<std::string> find(const std::string& key);
  void keep(const std::string& key, const std::string& text, bool in_file);

 private:
  std::filesystem::path path_of(const std::string& key) const;

  std::filesystem::path folder_;
  std::mutex mutex_;
  std::map<std::string, std::string> known_;
};

}  // namespace hydrofoil::comm
