// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/config/fields.h"

#include <algorithm>
#include <tuple>

#include "hydrofoil/config/slots.h"
#include "hydrofoil/config/suggest.h"
#include "hydrofoil/core/error.h"

namespace hydrofoil::config {
namespace {

constexpr size_t kMostProblems = 50;  // a file with more is not a configuration

bool is_auto(const Value& value) {
  return value.is_string() && value.string() == "auto";
}

std::string did_you_mean(const std::string& key, const std::vector<std::string>& names) {
  if (const auto name = nearest(key, names)) return "did you mean " + quote_json(*name) + "?";
  return "'hydrofoil config schema' lists every key";
}

std::string nearest_choice(const Key& key, const std::string& text) {
  std::vector<std::string> names;
  for (const Choice& choice : key.choices) names.push_back(choice.name);
  const auto name = nearest(text, names);
  return name ? "did you mean " + quote_json(*name) + "?" : std::string();
}

const Choice* chosen(const Key& key, const Value& value) {
  return value.is_string() ? find_choice(key, value.string()) : nullptr;
}

bool means_off(const Row& row) {
  const auto same = [&](const std::string& json) {
    return same_value(row.value, parse_json(json, "off"));
  };
  return same_value(row.value, row.standard) ||
         std::any_of(row.key.off.begin(), row.key.off.end(), same);
}

Type type_of_default(const Value& value) {
  switch (value.data.index()) {
    case 1:
      return Type::kBool;
    case 2:
      return Type::kInteger;
    case 3:
      return Type::kNumber;
    case 4:
      return Type::kString;
    case 5:
      return Type::kList;
    case 6:
      return Type::kObject;
    default:
      return Type::kAny;
  }
}

}  // namespace

std::string_view name_of(Status status) {
  switch (status) {
    case Status::kHonoured:
      return "honoured";
    case Status::kMapped:
      return "mapped";
    case Status::kNoEffect:
      return "no effect";
    case Status::kRefused:
      return "refused";
  }
  return {};
}

const Row* Report::find(std::string_view path) const {
  const auto it =
      std::find_if(rows.begin(), rows.end(), [&](const Row& r) { return r.path == path; });
  return it == rows.end() ? nullptr : &*it;
}

void Report::add(std::string message, Place place, std::string hint) {
  if (problems.size() >= kMostProblems) return;
  problems.push_back({std::move(message), std::move(place), std::move(hint)});
}

void Report::sort_problems() {
  const auto order = [](const Problem& p) {
    return std::tuple(!p.place.in_text(), p.place.source ? *p.place.source : std::string(),
                      p.place.line, p.place.column);
  };
  std::stable_sort(problems.begin(), problems.end(),
                   [&](const Problem& a, const Problem& b) { return order(a) < order(b); });
}

void Report::throw_first() const {
  if (problems.empty()) return;
  const Problem& first = problems.front();
  std::string hint = first.hint;
  if (const size_t more = problems.size() - 1; more > 0) {
    hint += (hint.empty() ? "" : "; ") + std::string("and ") + std::to_string(more) +
            (more == 1 ? " more problem" : " more problems") + ": see 'hydrofoil config check'";
  }
  throw Error(ExitCode::kConfig, first.message, first.place.text(), hint);
}

Reader::Reader(const Value* document, Report& report, std::string prefix) : report_(report) {
  Scope root;
  root.prefix = std::move(prefix);
  if (document != nullptr) {
    root.place = document->place;
    if (document->is_object()) {
      root.object = document;
    } else {
      report_.add("expected a section {..}, got " + config::describe(*document), document->place);
    }
  }
  scopes_.push_back(std::move(root));
}

bool Reader::given(std::string_view name) const {
  const Value* object = scopes_.back().object;
  const Value* value = object != nullptr ? object->find(name) : nullptr;
  return value != nullptr && !value->is_null() && !is_auto(*value);
}

Place Reader::place_of(std::string_view name) const {
  const Value* object = scopes_.back().object;
  const Value* value = object != nullptr ? object->find(name) : nullptr;
  return value != nullptr ? value->place : scopes_.back().place;
}

bool Reader::refused_last() const {
  return !report_.rows.empty() && report_.rows.back().set &&
         report_.rows.back().status == Status::kRefused;
}

// The member under the key's name or one of its aliases; two of them are a contradiction.
const Member* Reader::lookup(const Key& key, Row& row) {
  Scope& scope = scopes_.back();
  scope.names.push_back(key.name);
  scope.names.insert(scope.names.end(), key.aliases.begin(), key.aliases.end());
  if (scope.object == nullptr) return nullptr;
  const Member* found = nullptr;
  for (const Member& member : scope.object->object()) {
    const bool alias =
        std::find(key.aliases.begin(), key.aliases.end(), member.key) != key.aliases.end();
    if (member.key != key.name && !alias) continue;
    if (found != nullptr) {
      report_.add(quote_json(member.key) + " and " + quote_json(found->key) + " are the same key",
                  member.place, "first at " + found->place.text() + "; keep one of the two");
    }
    found = &member;
    if (alias) row.spelling = member.key;
  }
  return found;
}

void Reader::read(const Key& key, const Slot& slot) {
  Row row;
  row.path = joined(scopes_.back().prefix, key.name);
  row.key = key;
  row.type = type_of(slot, key);
  row.standard = row.value = value_of(slot, key);
  row.stored = !std::holds_alternative<Unstored>(slot);
  // What nothing reads is not honoured, whatever its choices say.
  if (!row.stored && row.key.status == Status::kHonoured) row.key.status = Status::kNoEffect;
  row.status = row.key.status;
  row.why = key.why;
  if (const Member* member = lookup(key, row)) {
    const Value& value = member->value;
    row.place = value.place;
    row.automatic = is_auto(value) && find_choice(key, "auto") == nullptr;
    row.set = !row.automatic && !value.is_null();
    if (const auto it = report_.renamed.find(row.path); it != report_.renamed.end()) {
      row.spelling = it->second;
    }
    if (row.set) take(row, slot, value);
  }
  report_.rows.push_back(std::move(row));
}

void Reader::take(Row& row, const Slot& slot, const Value& value) {
  if (const auto expected = assign(slot, row.key, value)) {
    const bool misspelt = row.type == Type::kChoice && value.is_string();
    report_.add(row.path + ": expected " + *expected + ", got " + config::describe(value),
                value.place, misspelt ? nearest_choice(row.key, value.string()) : std::string());
    return;
  }
  if (const Choice* choice = chosen(row.key, value)) {
    row.value = make_string(choice->name);
  } else {
    row.value = row.stored ? value_of(slot, row.key) : value;
  }
  judge(row);
}

// What becomes of a value that is set: fills status and why, or adds a problem.
void Reader::judge(Row& row) {
  const Key& key = row.key;
  if (!key.not_here.empty()) {
    report_.add(row.path + " does not apply: " + key.not_here, row.place, "remove it");
    return;
  }
  const Choice* choice = chosen(key, row.value);
  if (choice != nullptr && choice->status != Status::kHonoured) {
    row.status = choice->status;
    row.why = choice->why;
  }
  if (row.status == Status::kRefused) {
    if (choice == nullptr && means_off(row)) {
      row.status = Status::kNoEffect;
      row.why = "off";
    } else {
      refuse(row, ": " + config::describe(row.value));
    }
  } else if (!key.idle.empty()) {
    row.status = Status::kNoEffect;
    row.why = key.idle;
  }
}

// `why` is "the reason; what to do": the second half is the hint.
void Reader::refuse(const Row& row, const std::string& value) {
  const size_t cut = row.why.find("; ");
  report_.add(row.path + value + " is refused: " + row.why.substr(0, cut), row.place,
              cut == std::string::npos ? std::string() : row.why.substr(cut + 2));
}

void Reader::ignored(const std::string& name, std::string_view default_json, const std::string& why,
                     const std::string& unit, Type type) {
  unstored({.name = name, .unit = unit, .status = Status::kNoEffect, .why = why}, default_json,
           type);
}

void Reader::unstored(const Key& key, std::string_view default_json, Type type) {
  Unstored slot;
  slot.standard = parse_json(default_json, "default");
  slot.standard.place = {};
  slot.type = slot.standard.is_null() ? type : type_of_default(slot.standard);
  read(key, slot);
}

void Reader::enter(const Key& key) {
  Row row;
  row.path = joined(scopes_.back().prefix, key.name);
  row.key = key;
  row.type = Type::kSection;
  row.status = key.status;
  row.why = key.why;
  Scope inner;
  inner.prefix = row.path;
  const Member* member = lookup(key, row);
  if (member != nullptr && !member->value.is_null() && !is_auto(member->value)) {
    row.place = inner.place = member->value.place;
    row.set = true;
    if (member->value.is_object()) {
      inner.object = &member->value;
      if (key.status == Status::kRefused) {
        refuse(row, "");
      }
    } else {
      report_.add(row.path + ": expected a section {..}, got " + config::describe(member->value),
                  member->value.place);
    }
  }
  report_.rows.push_back(std::move(row));
  scopes_.push_back(std::move(inner));
}

void Reader::leave() {
  report_unknown();
  scopes_.pop_back();
}

void Reader::report_unknown() {
  const Scope& scope = scopes_.back();
  if (scope.object == nullptr) return;
  for (const Member& member : scope.object->object()) {
    if (std::find(scope.names.begin(), scope.names.end(), member.key) != scope.names.end())
      continue;
    report_.add("unknown key " + quote_json(joined(scope.prefix, member.key)), member.place,
                did_you_mean(member.key, scope.names));
  }
}

}  // namespace hydrofoil::config
