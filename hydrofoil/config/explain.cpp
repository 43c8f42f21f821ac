// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/config/explain.h"

#include <algorithm>
#include <vector>

#include "hydrofoil/config/slots.h"

namespace hydrofoil::config {
namespace {

// A default that matters: something reads it, as things stand.
bool in_force(const Row& row) {
  return row.stored && row.key.not_here.empty() && row.key.idle.empty() &&
         (row.status == Status::kHonoured || row.status == Status::kMapped);
}

bool differs(const Row& row) {
  return row.set && !same_value(row.value, row.standard);
}

std::vector<const Row*> selected(const Report& report, Show show) {
  std::vector<const Row*> rows;
  for (const Row& row : report.rows) {
    if (row.type == Type::kSection) continue;
    const bool relevant = row.set || row.automatic || in_force(row);
    if (show == Show::kEverything || (show == Show::kRelevant && relevant) ||
        (show == Show::kDifferences && differs(row))) {
      rows.push_back(&row);
    }
  }
  return rows;
}

std::string value_text(const Row& row) {
  const bool empty = row.value.is_null() || (row.value.is_string() && row.value.string().empty());
  if (empty) return row.key.default_text.empty() ? "none" : "(" + row.key.default_text + ")";
  std::string text = dump_json(row.value, 0);
  constexpr size_t kLongest = 60;
  if (text.size() > kLongest) text = text.substr(0, kLongest - 2) + "..";
  return row.key.unit.empty() ? text : text + " " + row.key.unit;
}

std::string verdict(const Row& row) {
  const std::string status(name_of(row.status));
  if (row.status == Status::kRefused && !row.set) return "off: " + row.why;
  return row.why.empty() ? status : status + ": " + row.why;
}

std::string padded(const std::string& text, size_t width) {
  return text.size() < width ? text + std::string(width - text.size(), ' ') : text;
}

Value text_or_null(const std::string& text) {
  return text.empty() ? Value{} : make_string(text);
}

Value json_of(const Row& row) {
  Value out = make_object();
  out.set("key", make_string(row.path));
  out.set("value", row.value);
  out.set("default", row.standard);
  out.set("unit", text_or_null(row.key.unit));
  out.set("origin", make_string(origin_of(row)));
  out.set("set", {row.set, {}});
  out.set("status", make_string(std::string(name_of(row.status))));
  out.set("why", text_or_null(row.why));
  out.set("help", text_or_null(row.key.help));
  return out;
}

Value json_of(const Problem& problem) {
  Value out = make_object();
  out.set("message", make_string(problem.message));
  out.set("where", make_string(problem.place.text()));
  out.set("hint", make_string(problem.hint));
  return out;
}

}  // namespace

std::string origin_of(const Row& row) {
  if (row.automatic) return "auto: default (" + row.place.text() + ")";
  if (!row.set) return "default";
  const std::string place = row.place.text();
  return row.spelling.empty() ? place : place + " (" + row.spelling + ")";
}

std::string explain_text(const Report& report, Show show) {
  const std::vector<const Row*> rows = selected(report, show);
  size_t key = 3, value = 5, origin = 4;
  for (const Row* row : rows) {
    key = std::max(key, row->path.size());
    value = std::max(value, value_text(*row).size());
    origin = std::max(origin, origin_of(*row).size());
  }
  std::string text = padded("key", key) + "  " + padded("value", value) + "  " +
                     padded("from", origin) + "  what becomes of it\n";
  for (const Row* row : rows) {
    text += padded(row->path, key) + "  " + padded(value_text(*row), value) + "  " +
            padded(origin_of(*row), origin) + "  " + verdict(*row) + "\n";
  }
  return text;
}

std::string explain_json(const Report& report, Show show) {
  Value::Array keys, problems;
  for (const Row* row : selected(report, show)) keys.push_back(json_of(*row));
  for (const Problem& problem : report.problems) problems.push_back(json_of(problem));
  Value out = make_object();
  out.set("keys", {std::move(keys), {}});
  out.set("problems", {std::move(problems), {}});
  return dump_json(out, 0);
}

std::string summary(const Report& report) {
  size_t set = 0, honoured = 0, mapped = 0;
  std::string idle;
  for (const Row& row : report.rows) {
    if (row.type == Type::kSection || !row.set) continue;
    ++set;
    honoured += row.status == Status::kHonoured ? 1 : 0;
    mapped += row.status == Status::kMapped ? 1 : 0;
    if (row.status == Status::kNoEffect) {
      idle += "no effect: " + row.path + " (" + origin_of(row) + "): " + row.why + "\n";
    }
  }
  return std::to_string(set) + (set == 1 ? " key set: " : " keys set: ") +
         std::to_string(honoured) + " honoured, " + std::to_string(mapped) + " mapped, " +
         std::to_string(set - honoured - mapped) + " without effect\n" + idle;
}

}  // namespace hydrofoil::config
