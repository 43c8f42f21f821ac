// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/comm/choices.h"

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <sstream>
#include <utility>

#include "hydrofoil/core/error.h"
#include "hydrofoil/io/file.h"

namespace hydrofoil::comm {
namespace {

constexpr std::array kSized{Operation::kAllReduce, Operation::kReduceScatter, Operation::kAllGather,
                            Operation::kBroadcast};
constexpr std::array kChosen{Operation::kAllReduce, Operation::kReduceScatter,
                             Operation::kAllGather, Operation::kBroadcast, Operation::kAllToAll};
constexpr const char* kMore = "more";
constexpr size_t kMaxChoicesBytes = 64 << 10;

size_t quickest(const std::vector<double>& seconds) {
  size_t best = 0;
  for (size_t way = 1; way < seconds.size(); ++way)
    if (seconds[way] < seconds[best] * (1 - kLeastGain)) best = way;
  return best;
}

template <class Name>
std::optional<size_t> index_named(std::string_view name, size_t count, Name name_at) {
  for (size_t i = 0; i < count; ++i)
    if (name_at(i) == name) return i;
  return std::nullopt;
}

}  // namespace

Choices Choices::always(size_t way, size_t home) {
  Choices choices;
  choices.set_home(home);
  for (const Operation op : kChosen) choices.add(op, {SIZE_MAX, way});
  return choices;
}

void Choices::add(Operation op, Range range) {
  ranges_[static_cast<size_t>(op)].push_back(range);
}

size_t Choices::way_of(Operation op, size_t bytes) const {
  const auto& ranges = ranges_[static_cast<size_t>(op)];
  for (const Range& range : ranges)
    if (bytes <= range.up_to_bytes) return range.way;
  return ranges.empty() ? home_ : ranges.back().way;
}

std::string Choices::text(std::span<const std::string> ways) const {
  std::ostringstream out;
  out << "home " << ways[home_] << "\n";
  for (const Operation op : kChosen)
    for (const Range& range : ranges_[static_cast<size_t>(op)]) {
      out << name_of(op) << " ";
      range.up_to_bytes == SIZE_MAX ? out << kMore : out << range.up_to_bytes;
      out << " " << ways[range.way] << "\n";
    }
  return out.str();
}

std::optional<Choices> Choices::parse(std::string_view text, std::span<const std::string> ways) {
  const auto way_named = [&](const std::string& name) {
    return index_named(name, ways.size(), [&](size_t i) { return std::string_view(ways[i]); });
  };
  std::istringstream in{std::string(text)};
  std::string word, size, name;
  if (!(in >> word >> name) || word != "home") return std::nullopt;
  const auto home = way_named(name);
  if (!home) return std::nullopt;
  Choices choices;
  choices.set_home(*home);
  while (in >> word) {
    const auto op = index_named(word, kChosen.size(), [](size_t i) { return name_of(kChosen[i]); });
    if (!op || !(in >> size >> name)) return std::nullopt;
    const auto way = way_named(name);
    Range range{SIZE_MAX, way.value_or(0)};
    const char* const end = size.data() + size.size();
    const auto [stop, error] = std::from_chars(size.data(), end, range.up_to_bytes);
    if (!way || (size != kMore && (error != std::errc() || stop != end))) return std::nullopt;
    choices.add(kChosen[*op], range);
  }
  for (const auto& ranges : choices.ranges_)
    if (!std::is_sorted(ranges.begin(), ranges.end(), [](const Range& a, const Range& b) {
          return a.up_to_bytes < b.up_to_bytes;
        }))
      return std::nullopt;
  return choices;
}

Choices choose_ways(const MeasureWays& measure) {
  Choices choices;
  choices.set_home(quickest(measure(Operation::kBarrier, 0, 0)));
  const size_t home = choices.home();
  for (const Operation op : kSized) {
    std::vector<Choices::Range> ranges;
    for (size_t bytes = kSmallestProbeBytes; bytes <= kLargestProbeBytes; bytes *= 4) {
      const auto seconds = measure(op, bytes, home);
      const size_t way = quickest(seconds);
      if (!ranges.empty() && ranges.back().way == way)
        ranges.back().up_to_bytes = 2 * bytes;
      else
        ranges.push_back({2 * bytes, way});
      if (seconds[way] > kLongCallSeconds) break;
    }
    ranges.back().up_to_bytes = SIZE_MAX;
    for (const auto& range : ranges) choices.add(op, range);
  }
  choices.add(Operation::kAllToAll,
              {SIZE_MAX, quickest(measure(Operation::kAllToAll, kAllToAllBytes, home))});
  return choices;
}

std::string choices_key(const std::string& machine, std::span<const int> ranks,
                        std::span<const std::string> ways) {
  std::ostringstream text;
  text << machine << "; ranks";
  for (const int count : ranks) text << " " << count;
  text << "; ways";
  for (const std::string& way : ways) text << " " << way;
  return text.str();
}

std::filesystem::path ChoiceStore::path_of(const std::string& key) const {
  uint64_t hash = 0xcbf29ce484222325;
  for (const char c : key) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  std::ostringstream name;
  name << "choices-" << std::hex << hash;
  return folder_ / name.str();
}

std::optional<std::string> ChoiceStore::find(const std::string& key) {
  const std::lock_guard lock(mutex_);
  if (const auto known = known_.find(key); known != known_.end()) return known->second;
  if (folder_.empty()) return std::nullopt;
  try {
    const std::string text = io::read_text(path_of(key), kMaxChoicesBytes);
    if (!text.starts_with(key + "\n")) return std::nullopt;
    return known_[key] = text.substr(key.size() + 1);
  } catch (const Error&) {
    return std::nullopt;
  }
}

void ChoiceStore::keep(const std::string& key, const std::string& text, bool in_file) {
  const std::lock_guard lock(mutex_);
  known_[key] = text;
  if (folder_.empty() || !in_file) return;
  try {
    std::error_code ignored;
    std::filesystem::create_directories(folder_, ignored);
    io::atomic_write(path_of(key), key + "\n" + text);
  } catch (const Error&) {  // a folder that cannot be written costs a probe at the next start
  }
}

}  // namespace hydrofoil::comm
