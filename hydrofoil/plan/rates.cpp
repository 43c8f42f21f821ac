// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/plan/rates.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <utility>

#include "hydrofoil/core/error.h"
#include "hydrofoil/io/json.h"
#include "hydrofoil/monitor/format.h"

namespace hydrofoil::plan {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::array kNames{
    std::pair{"flops_per_second", &Machine::flops_per_second},
    std::pair{"ends_flops_per_second", &Machine::ends_flops_per_second},
    std::pair{"wire_bytes_per_second", &Machine::wire_bytes_per_second},
    std::pair{"gather_bytes_per_second", &Machine::gather_bytes_per_second},
    std::pair{"memory_bytes_per_second", &Machine::memory_bytes_per_second},
    std::pair{"file_read_bytes_per_second", &Machine::read_bytes_per_second},
    std::pair{"file_write_bytes_per_second", &Machine::write_bytes_per_second},
    std::pair{"file_both_bytes_per_second", &Machine::both_bytes_per_second},
    std::pair{"call_seconds", &Machine::call_seconds},
    std::pair{"between_bytes_per_second", &Machine::between_bytes_per_second},
    std::pair{"between_seconds", &Machine::between_seconds}};

}  // namespace

double Machine::file_seconds(uint64_t read_bytes, uint64_t written_bytes) const {
  if (read_bytes_per_second <= 0 || write_bytes_per_second <= 0) return 0;
  const uint64_t by_turns = both_bytes_per_second > 0 ? std::min(read_bytes, written_bytes) : 0;
  return (by_turns > 0 ? 2 * static_cast<double>(by_turns) / both_bytes_per_second : 0) +
         static_cast<double>(read_bytes - by_turns) / read_bytes_per_second +
         static_cast<double>(written_bytes - by_turns) / write_bytes_per_second;
}

std::string to_json(const Rates& rates) {
  Json json{{"version", 1},
            {"processor", rates.processor},
            {"program", rates.program},
            {"ranks", rates.ranks},
            {"threads", rates.threads}};
  for (const auto& [name, member] : kNames)
    if (rates.machine.*member > 0) json[name] = rates.machine.*member;
  if (rates.rank_memory_bytes > 0) json["rank_memory_bytes"] = rates.rank_memory_bytes;
  if (!rates.folder.empty()) {
    json["folder"] = rates.folder;
    json["aio"] = {{"block_size", rates.block_bytes},
                   {"queue_depth", rates.queue_depth},
                   {"intra_op_parallelism", rates.threads_of_files}};
    json["file_piece_elements"] = rates.piece_elements;
  }
  return json.dump(1, ' ', false, Json::error_handler_t::replace) + "\n";
}

std::string to_text(const Rates& rates) {
  std::string text = "measured on " + rates.processor + ", " + std::to_string(rates.ranks) +
                     (rates.ranks == 1 ? " rank" : " ranks at once") + " of " +
                     std::to_string(rates.threads) + (rates.threads == 1 ? " thread" : " threads") +
                     ", a rank\n";
  const auto line = [&](const char* name, double rate, const char* unit) {
    if (rate <= 0) return;
    std::array<char, 80> row;
    std::snprintf(row.data(), row.size(), "  %-26s %12s %s\n", name,
                  monitor::print("%.3g", rate / 1e9).c_str(), unit);
    text += row.data();
  };
  const Machine& m = rates.machine;
  line("layers", m.flops_per_second, "GFLOPS");
  line("embedding, head and loss", m.ends_flops_per_second, "GFLOPS");
  line("update", m.memory_bytes_per_second, "GB/s");
  line("reductions", m.wire_bytes_per_second, "GB/s");
  line("gathers", m.gather_bytes_per_second, "GB/s");
  line("between hosts", m.between_bytes_per_second, "GB/s");
  line("files, reading", m.read_bytes_per_second, "GB/s");
  line("files, writing", m.write_bytes_per_second, "GB/s");
  line("files, by turns", m.both_bytes_per_second, "GB/s");
  if (rates.folder.empty()) return text;
  return text + "fastest in " + rates.folder +
         ", for the run file:\n  \"file_piece_elements\": " + std::to_string(rates.piece_elements) +
         "\n  \"deepspeed\": {\"aio\": {\"block_size\": " + std::to_string(rates.block_bytes) +
         ", \"queue_depth\": " + std::to_string(rates.queue_depth) +
         ", \"intra_op_parallelism\": " + std::to_string(rates.threads_of_files) + "}}\n";
}

Rates rates_from_json(const std::string& text, const std::string& where) {
  try {
    const auto json = io::parse_json(text, where);
    if (json.at("version") != 1) throw std::runtime_error("its version is not 1");
    Rates rates{.machine = {},
                .ranks = json.at("ranks"),
                .threads = json.at("threads"),
                .processor = json.value("processor", ""),
                .program = json.value("program", "")};
    for (const auto& [name, member] : kNames) rates.machine.*member = json.value(name, 0.0);
    rates.rank_memory_bytes = json.value("rank_memory_bytes", uint64_t{0});
    rates.folder = json.value("folder", "");
    if (rates.folder.empty()) return rates;
    rates.block_bytes = json.at("aio").at("block_size");
    rates.queue_depth = json.at("aio").at("queue_depth");
    rates.threads_of_files = json.at("aio").at("intra_op_parallelism");
    rates.piece_elements = json.at("file_piece_elements");
    return rates;
  } catch (const std::exception& error) {
    throw Error(ExitCode::kConfig, std::string("holds no measured rates: ") + error.what(), where,
                "hydrofoil plan RUN.json --tune --write FILE makes such a file");
  }
}

}  // namespace hydrofoil::plan
