// SPDX-License-Identifier: Apache-2.0
// A timeline in Chrome's trace format: open it in https://ui.perfetto.dev or chrome://tracing.
//
//   TraceFile file("runs/first/trace.json");
//   file.add(trace_json(events, /*rank=*/0));
//   file.add(trace_json(theirs, /*rank=*/1));   // one process a rank, its tracks below
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "hydrofoil/monitor/line_file.h"

namespace hydrofoil::monitor {

enum class Track : uint8_t { kCompute, kGathers, kReductions, kOther };

struct TraceEvent {
  std::string name;      // "forward of layers.3"
  std::string category;  // "forward", "wait", "read", ..
  Track track = Track::kCompute;
  int64_t begin_ns = 0, end_ns = 0;
  uint64_t bytes = 0;  // 0: moves nothing
};

// Objects of the trace format, separated by commas. Events of one track that overlap without lying
// in each other go to further tracks ("gathers 2"). Times become microseconds and stay absolute.
std::string trace_json(std::span<const TraceEvent> events, int rank);

// A JSON array that readers accept also where a kill has cut it short.
class TraceFile {
 public:
  explicit TraceFile(const std::string& path);  // made anew
  ~TraceFile();                                 // ends the array
  void add(const std::string& events);          // of trace_json

 private:
  LineFile file_;
  bool first_ = true;
};

}  // namespace hydrofoil::monitor
