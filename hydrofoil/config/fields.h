// SPDX-License-Identifier: Apache-2.0
// A key of the configuration is described once; parsing, checking, `config explain`, the JSON
// Schema and docs/config.md all come from that description.
//
//   struct Zero {
//     int64_t stage = 0;
//     void visit(Reader& f) {
//       f.field({.name = "stage", .help = "what is kept as slices", .min = 0, .max = 3}, stage);
//     }
//   };
//   Report report;
//   Zero zero;
//   read(zero, document, report);  // the member is set, a row says from where; problems are
//   collected report.throw_first();
//
// The value "auto" means: as if the key were absent. An unknown key, a wrong type, a value out of
// range and a set key whose feature does not exist are problems with file:line:column.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <variant>
#include <vector>

#include "hydrofoil/config/json.h"

namespace hydrofoil::config {

// What becomes of a key that is set.
enum class Status : uint8_t {
  kHonoured,  // does what it says
  kMapped,    // does the same under another name or unit
  kNoEffect,  // accepted; there is nothing for it to change here
  kRefused,   // an error unless the value means "off" (its default)
};
std::string_view name_of(Status status);  // "honoured", "mapped", "no effect", "refused"

enum class Type : uint8_t {
  kAny,
  kBool,
  kInteger,
  kNumber,
  kString,
  kChoice,
  kList,
  kObject,
  kSection
};

struct Choice {
  std::string name = {};
  Status status = Status::kHonoured;
  std::string why = {};                     // for kNoEffect and kRefused
  std::vector<std::string> spellings = {};  // accepted for the same
};

struct Key {
  std::string name = {};
  std::string help = {};
  std::string unit = {};
  std::optional<double> min = {}, max = {};
  bool above_min = false;            // min itself is out
  std::vector<Choice> choices = {};  // strings; for an enum: enumerators in order, refused last
  std::vector<std::string> aliases = {};  // other spellings
  Status status = Status::kHonoured;
  std::string why = {};  // kMapped: to what; kNoEffect: why; kRefused: "why; what to do"
  std::vector<std::string> off = {};  // JSON of other values that mean "off" to a refused key
  std::string not_here = {};          // not empty: an error when set, because
  std::string idle = {};              // not empty: no effect as things stand, because
  std::string default_text = {};      // says the default where no single value does
  bool path = false;                  // relative to the file it is written in
};

// "zero_optimization.stage": the path of a key of a section.
inline std::string joined(const std::string& section, const std::string& name) {
  return section.empty() ? name : section + "." + name;
}

// A declared key with its value and how it came to be.
struct Row {
  std::string path;  // "zero_optimization.stage"
  Key key;
  Type type = Type::kAny;
  Value standard;  // the default
  Value value;
  bool stored = false;                // a member of the configuration holds it
  bool set = false;                   // by a file or the command line
  bool automatic = false;             // written as "auto"
  Place place;                        // when set or automatic
  std::string spelling;               // the alias it was written as
  Status status = Status::kHonoured;  // of this value, here
  std::string why;
};

struct Problem {
  std::string message;
  Place place;
  std::string hint;
};

struct Report {
  std::vector<Row> rows;
  std::vector<Problem> problems;
  std::map<std::string, std::string> renamed;  // path to the older key a value came from

  const Row* find(std::string_view path) const;
  void add(std::string message, Place place, std::string hint = {});
  // In the order of the text; values without a place last.
  void sort_problems();
  // Error(kConfig) of the first problem, saying how many more there are.
  void throw_first() const;
};

// A pointer to a member of a configuration, of the types a key may have.
struct EnumSlot {
  std::function<size_t()> get;
  std::function<void(size_t)> set;
};
struct Unstored {  // a key whose value nothing reads
  Type type = Type::kAny;
  Value standard;
};
using Slot =
    std::variant<bool*, int64_t*, double*, std::string*, std::optional<bool>*,
                 std::optional<int64_t>*, std::optional<double>*, std::array<double, 2>*,
                 std::vector<std::string>*, std::vector<int64_t>*, Value*, EnumSlot, Unstored>;

class Reader {
 public:
  // document: an object, or null to let every field keep its value and only describe it.
  Reader(const Value* document, Report& report, std::string prefix = {});

  template <class T>
  void field(const Key& key, T& member) {
    if constexpr (std::is_enum_v<T>) {
      read(key, EnumSlot{[&member] { return static_cast<size_t>(member); },
                         [&member](size_t i) { member = static_cast<T>(i); }});
    } else {
      read(key, Slot(&member));
    }
  }
  // A key that is checked and reported but that nothing reads. Its type is that of the default,
  // or `type` where the default is null.
  void unstored(const Key& key, std::string_view default_json, Type type = Type::kAny);
  // One that has no effect here, and why.
  void ignored(const std::string& name, std::string_view default_json, const std::string& why,
               const std::string& unit = {}, Type type = Type::kAny);

  template <class S>
  void section(const Key& key, S& s) {
    enter(key);
    s.visit(*this);
    leave();
  }
  void enter(const Key& key);
  void leave();  // unknown keys of the section become problems

  // The current section has this key, and not as null or "auto".
  bool given(std::string_view name) const;
  // Where the section or one of its keys stands.
  Place place_of(std::string_view name) const;
  Report& report() { return report_; }
  // The key read last was set to something refused.
  bool refused_last() const;
  // Unknown keys of the root become problems. Call once, after the visit.
  void finish() { report_unknown(); }

 private:
  struct Scope {
    const Value* object = nullptr;
    std::string prefix;
    std::vector<std::string> names;  // declared, aliases included
    Place place;
  };
  const Member* lookup(const Key& key, Row& row);
  void read(const Key& key, const Slot& slot);
  void take(Row& row, const Slot& slot, const Value& value);
  void judge(Row& row);
  void refuse(const Row& row, const std::string& value);
  void report_unknown();

  Report& report_;
  std::vector<Scope> scopes_;
};

template <class S>
void read(S& config, const Value& document, Report& report, const std::string& prefix = {}) {
  Reader reader(&document, report, prefix);
  config.visit(reader);
  reader.finish();
}

// The rows of `config` as it is: names, values, what they mean.
template <class S>
Report describe_fields(S config, const std::string& prefix = {}) {
  Report report;
  Reader reader(nullptr, report, prefix);
  config.visit(reader);
  return report;
}

}  // namespace hydrofoil::config
