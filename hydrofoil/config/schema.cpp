// SPDX-License-Identifier: Apache-2.0
// The declarations as JSON Schema, for completion and red underlines in editors. Where the program
// is more tolerant (case of choices, comments) the schema describes the clean form.
#include <utility>

#include "hydrofoil/config/explain.h"
#include "hydrofoil/config/slots.h"

namespace hydrofoil::config {
namespace {

template <class T>
Value plain(T data) {
  Value value;
  value.data = std::move(data);
  return value;
}

Value typed(const char* name) {
  Value out = make_object();
  out.set("type", make_string(name));
  return out;
}

Value any_of(Value a, Value b) {
  Value out = make_object();
  out.set("anyOf", plain(Value::Array{std::move(a), std::move(b)}));
  return out;
}

Value bounded(Value out, const Key& key) {
  if (key.min) out.set(key.above_min ? "exclusiveMinimum" : "minimum", plain(*key.min));
  if (key.max) out.set("maximum", plain(*key.max));
  return out;
}

Value list_of(const Row& row) {
  Value out = typed("array");
  if (row.key.path) out.set("items", typed("string"));
  if (!row.key.path && row.stored && !row.key.unit.empty()) {  // whole numbers of something
    out.set("items", bounded(typed("integer"), row.key));
    out.set("minItems", plain(int64_t{1}));
  } else if (!row.key.path && row.stored) {  // a pair of numbers
    out.set("items", bounded(typed("number"), row.key));
    out.set("minItems", plain(int64_t{2}));
    out.set("maxItems", plain(int64_t{2}));
  }
  return row.key.path ? any_of(typed("string"), std::move(out)) : out;
}

Value choices_of(const Key& key) {
  Value::Array names;
  for (const Choice& choice : key.choices) {
    names.push_back(make_string(choice.name));
    for (const std::string& spelling : choice.spellings) names.push_back(make_string(spelling));
  }
  Value out = make_object();
  out.set("enum", plain(std::move(names)));
  return out;
}

Value shape_of(const Row& row) {
  switch (row.type) {
    case Type::kAny:
      return make_object();
    case Type::kBool:
      return typed("boolean");
    case Type::kInteger:
      return bounded(typed("integer"), row.key);
    case Type::kNumber:
      return bounded(typed("number"), row.key);
    case Type::kString:
      return typed("string");
    case Type::kChoice:
      return choices_of(row.key);
    case Type::kList:
      return list_of(row);
    case Type::kObject:
    case Type::kSection:
      return typed("object");
  }
  return {};
}

std::string description_of(const Row& row) {
  std::string text = row.key.help;
  if (!row.key.unit.empty()) text += " [" + row.key.unit + "]";
  if (row.key.status != Status::kHonoured) {
    text += (text.empty() ? "" : ". ") + std::string(name_of(row.key.status));
    if (!row.key.why.empty()) text += ": " + row.key.why;
  }
  return text;
}

Value field_schema(const Row& row) {
  // "auto" and null mean: as if absent.
  Value absent = make_object();
  absent.set("enum", plain(Value::Array{make_string("auto"), Value{}}));
  Value out = row.type == Type::kAny ? make_object() : any_of(shape_of(row), std::move(absent));
  const std::string description = description_of(row);
  if (!description.empty()) out.set("description", make_string(description));
  if (!row.standard.is_null()) out.set("default", row.standard);
  return out;
}

Value section_schema() {
  Value out = typed("object");
  out.set("properties", make_object());
  out.set("additionalProperties", plain(false));
  return out;
}

// The object schema of the section with this dotted path; every section was added before its keys.
Value& section_of(Value& root, const std::string& path) {
  Value* at = &root;
  size_t begin = 0;
  while (begin < path.size()) {
    const size_t dot = std::min(path.find('.', begin), path.size());
    Value* inner = at->find("properties")->find(path.substr(begin, dot - begin));
    Value* alternatives = inner->find("anyOf");
    at = alternatives != nullptr ? &alternatives->array().front() : inner;
    begin = dot + 1;
  }
  return *at;
}

// Sections that may also be something else.
Value section_with_alternatives(const Row& row) {
  Value section = section_schema();
  Value other = typed("null");
  if (row.path == "deepspeed") other = typed("string");
  if (row.path.ends_with("zero_optimization")) other = typed("boolean");
  Value out = any_of(std::move(section), std::move(other));
  const std::string description = description_of(row);
  if (!description.empty()) out.set("description", make_string(description));
  return out;
}

// The properties of the section around a key.
Value& neighbours_of(Value& root, const Row& row) {
  const size_t dot = row.path.rfind('.');
  const std::string parent = dot == std::string::npos ? "" : row.path.substr(0, dot);
  return *section_of(root, parent).find("properties");
}

std::string own_name(const Row& row) {
  return row.path.substr(row.path.rfind('.') + 1);
}

// Older spellings have the same schema; a section's is complete only once its keys are in.
void add_aliases(Value& root, const Row& row) {
  Value& properties = neighbours_of(root, row);
  for (const std::string& alias : row.key.aliases) {
    Value old = *properties.find(own_name(row));
    old.set("deprecated", plain(true));
    properties.set(alias, std::move(old));
  }
}

}  // namespace

std::string schema(FileKind kind) {
  Value root = section_schema();
  const bool run = kind == FileKind::kRun;
  const Report report = run ? describe_fields(RunConfig()) : describe_fields(DeepSpeedConfig());
  for (const Row& row : report.rows) {
    const bool section = row.type == Type::kSection;
    neighbours_of(root, row).set(own_name(row),
                                 section ? section_with_alternatives(row) : field_schema(row));
  }
  for (const Row& row : report.rows) add_aliases(root, row);
  Value out = make_object();
  out.set("$schema", make_string("https://json-schema.org/draft/2020-12/schema"));
  out.set("title", make_string(run ? "Hydrofoil run file"
                                   : "DeepSpeed configuration, as Hydrofoil reads it"));
  for (Member& member : root.object()) out.set(member.key, std::move(member.value));
  return dump_json(out) + "\n";
}

}  // namespace hydrofoil::config
