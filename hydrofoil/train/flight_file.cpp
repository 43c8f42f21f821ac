// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/train/flight_file.h"

#include <nlohmann/json.hpp>
#include <string>
#include <system_error>
#include <vector>

#include "hydrofoil/comm/flight_recorder.h"
#include "hydrofoil/core/log.h"
#include "hydrofoil/io/file.h"

namespace hydrofoil::train {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

fs::path flight_file(const fs::path& output) {
  return output / "flight.json";
}

const char* name_of(comm::CallPhase phase) {
  switch (phase) {
    case comm::CallPhase::kIssued:
      return "queued";
    case comm::CallPhase::kStarted:
      return "under way";
    case comm::CallPhase::kDone:
      return "done";
    case comm::CallPhase::kFailed:
      return "failed";
  }
  return "unknown";
}

Json call_json(const comm::CallRecord& call, int64_t now_ns) {
  const auto ago = [&](int64_t ns) { return static_cast<double>(now_ns - ns) * 1e-9; };
  Json json{{"what", comm::describe_in_full(call)},
            {"phase", name_of(call.phase)},
            {"began_seconds_ago", ago(call.started_ns ? call.started_ns : call.issued_ns)}};
  if (call.done_ns) json["ended_seconds_ago"] = ago(call.done_ns);
  if (call.waits_for >= 0) json["waits_for_rank"] = call.waits_for;
  return json;
}

Json ranks_json(const comm::Communicator& group) {
  const int64_t now_ns = comm::monotonic_ns();
  Json ranks = Json::array();
  for (int rank = 0; rank < group.size(); ++rank) {
    const auto recent = group.recent_calls(rank);
    Json calls = Json::array();
    for (const auto& call : recent) calls.push_back(call_json(call, now_ns));
    ranks.push_back(
        {{"rank", rank}, {"state", comm::last_seen_text(recent)}, {"calls", std::move(calls)}});
  }
  return ranks;
}

// Whole, also after a crash, and only where there is none: a second name is given in one step.
void write_first(const fs::path& path, const std::string& text) {
  const fs::path aside = path.string() + ".tmp-" + io::unique_id();
  io::atomic_write(aside, text);
  std::error_code error, ignored;
  fs::create_hard_link(aside, path, error);
  if (error && error != std::errc::file_exists)
    io::rename_path(aside, path);  // files have one name here: the last one stays
  else
    fs::remove(aside, ignored);
}

}  // namespace

Error keep_flight_record(const comm::Communicator& group, const fs::path& output,
                         const Error& error) {
  const auto path = flight_file(output);
  const Json json{{"error", error.line()},
                  {"code", static_cast<int>(error.code())},
                  {"written_by_rank", group.rank()},
                  {"ranks", ranks_json(group)}};
  try {
    write_first(path, json.dump(1, ' ', false, Json::error_handler_t::replace) + "\n");
  } catch (const Error& failure) {
    log::warn("what the ranks did is not kept: " + failure.line());
    return error;
  }
  const std::string what = "what every rank did last is in " + path.string();
  return {error.code(), error.what(), error.where(),
          error.hint().empty() ? what : error.hint() + "; " + what};
}

void drop_flight_record(const fs::path& output) {
  std::error_code failed;
  if (fs::remove(flight_file(output), failed); failed)
    throw Error(ExitCode::kError, "an old record cannot be removed: " + failed.message(),
                flight_file(output).string(), "remove it, or name another output folder");
}

}  // namespace hydrofoil::train
