// SPDX-License-Identifier: Apache-2.0
// What is known about the keys, in four forms: the report of one file for people and for scripts,
// and the schema and reference of all files. All come from the declarations that also parse.
#pragma once

#include <string>

#include "hydrofoil/config/fields.h"
#include "hydrofoil/config/run.h"

namespace hydrofoil::config {

enum class Show : uint8_t {
  kRelevant,     // keys that were set, and those that have an effect
  kDifferences,  // keys whose value is not the default
  kEverything,
};

// "default", "auto: default", "run.json:3:5", "command line", and the older spelling in brackets.
std::string origin_of(const Row& row);

// One line a key: name, value with unit, origin, status and why.
std::string explain_text(const Report& report, Show show);
// {"keys": [{"key", "value", "default", "origin", "status", ..}], "problems": [..]}, on one line.
std::string explain_json(const Report& report, Show show);

// "7 keys set: 5 honoured, 2 without effect" and a line for each key without effect.
std::string summary(const Report& report);

// JSON Schema, draft 2020-12, of a run file or a DeepSpeed file; for editors.
std::string schema(FileKind kind);

// docs/config.md: `hydrofoil config schema --docs`.
std::string markdown();

}  // namespace hydrofoil::config
