// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/monitor/trace_file.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <vector>

#include "hydrofoil/monitor/format.h"

namespace hydrofoil::monitor {
namespace {

std::string microseconds(int64_t ns) {
  std::array<char, 40> text;
  const int size =
      std::snprintf(text.data(), text.size(), "%lld.%03lld", static_cast<long long>(ns / 1000),
                    static_cast<long long>(ns % 1000));
  return {text.data(), static_cast<size_t>(size)};
}

// Viewers draw events of one track as a stack: each must lie inside the one below or after it.
class Lane {
 public:
  bool take(const TraceEvent& event) {
    while (!open_ends_.empty() && open_ends_.back() <= event.begin_ns) open_ends_.pop_back();
    if (!open_ends_.empty() && open_ends_.back() < event.end_ns) return false;
    open_ends_.push_back(event.end_ns);
    return true;
  }

 private:
  std::vector<int64_t> open_ends_;
};

constexpr std::array<const char*, 4> kTracks{"compute", "gathers", "reductions", "other calls"};
constexpr size_t kLanes = 100;  // numbers kept for one track: the same in every step

// Events in the order in which a stack takes them: by begin, longer ones first.
std::vector<const TraceEvent*> in_order(std::span<const TraceEvent> events) {
  std::vector<const TraceEvent*> order;
  for (const auto& event : events) order.push_back(&event);
  std::stable_sort(order.begin(), order.end(), [](const TraceEvent* a, const TraceEvent* b) {
    return a->begin_ns != b->begin_ns ? a->begin_ns < b->begin_ns : a->end_ns > b->end_ns;
  });
  return order;
}

std::string metadata(const char* kind, int rank, size_t track, const std::string& name) {
  return std::string("{\"ph\":\"M\",\"name\":\"") + kind + "\",\"pid\":" + std::to_string(rank) +
         ",\"tid\":" + std::to_string(track) + ",\"args\":{\"name\":" + monitor::quoted(name) +
         "}}";
}

}  // namespace

std::string trace_json(std::span<const TraceEvent> events, int rank) {
  std::string text = metadata("process_name", rank, 0, "rank " + std::to_string(rank));
  std::array<std::vector<Lane>, kTracks.size()> tracks;
  for (const TraceEvent* event : in_order(events)) {
    const auto track = static_cast<size_t>(event->track);
    auto& lanes = tracks[track];
    size_t lane = 0;
    while (lane < lanes.size() && !lanes[lane].take(*event)) ++lane;
    const size_t number = track * kLanes + lane + 1;
    if (lane == lanes.size()) {
      lanes.emplace_back().take(*event);
      std::string name = kTracks[track];
      if (lane > 0) name.append(" ").append(std::to_string(lane + 1));
      text += ",\n" + metadata("thread_name", rank, number, name);
    }
    text += ",\n{\"ph\":\"X\",\"name\":" + monitor::quoted(event->name) +
            ",\"cat\":" + monitor::quoted(event->category) + ",\"pid\":" + std::to_string(rank) +
            ",\"tid\":" + std::to_string(number) + ",\"ts\":" + microseconds(event->begin_ns) +
            ",\"dur\":" + microseconds(event->end_ns - event->begin_ns);
    if (event->bytes) text += ",\"args\":{\"bytes\":" + std::to_string(event->bytes) + "}";
    text += "}";
  }
  return text;
}

TraceFile::TraceFile(const std::string& path) : file_(LineFile::create(path)) {
  file_.append("[\n");
}

TraceFile::~TraceFile() {
  file_.append("\n]\n");
}

void TraceFile::add(const std::string& events) {
  file_.append((first_ ? "" : ",\n") + events);
  first_ = false;
}

}  // namespace hydrofoil::monitor
