// SPDX-License-Identifier: Apache-2.0
// The declarations as docs/config.md.
#include <algorithm>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "hydrofoil/config/explain.h"
#include "hydrofoil/config/slots.h"

namespace hydrofoil::config {
namespace {

const char* const kIntroduction = R"(# config: the run file and DeepSpeed's JSON

This page is generated: `hydrofoil config schema --docs`. A test keeps it current.

A key is declared once, in the structure that holds it (hydrofoil/config). Parsing, checks, `hydrofoil config explain`, the JSON
Schema and this page come from that declaration.

```cpp
#include "hydrofoil/config/run.h"
using namespace hydrofoil::config;
const std::vector<std::string> set = {"deepspeed.zero_optimization.stage=3"};  // --set
const RunConfig run = load_run("run.json", set);              // Error(kConfig) with file:line:column
const BatchSizes batch = resolve_batch(run.deepspeed, ranks);  // all three sizes, or three repairs
const std::string effective = resolved_json(run);              // stored with the run
```

```text
$ hydrofoil config check run.json
hydrofoil: error: run.json:7:5: unknown key "deepspeed.gradient_clipp1ng" (did you mean "gradient_clipping"?)
```

## How files are read

- JSON with comments (`//`, `#`, `/* */`), trailing commas and a byte order mark. Keys and strings need double quotes. At most 1 MiB and
  64 levels. Reading takes about a millisecond.
- Strict at every depth: an unknown key, a duplicate key, a wrong type or a value out of range is an error with file, line and column.
  `5e8` is an integer.
- `"auto"` and `null` mean: as if the key were absent. `config explain` says so.
- A relative path is relative to the file it is written in; one from the command line, to the current folder.
- `--set a.b=c` wins over files; `c` is JSON, or a string where it is none. It reaches into the file that `deepspeed` names.
- `deepspeed` may be the section itself, a file name, or the url-safe base64 that DeepSpeed's launchers pass.
- Choices (`"AdamW"`) are accepted in any case.
- The complete effective configuration is stored with the run and its checkpoints and compared between ranks.

What becomes of a key that is set:

| status | means |
|---|---|
| honoured | it does what it says |
| mapped | it does the same here under another name or unit |
| no effect | accepted; there is nothing for it to change, for the reason given |
| refused | an error that says what works instead, unless the value means "off" (its default) |

## The batch

`train_batch_size` = `train_micro_batch_size_per_gpu` x `gradient_accumulation_steps` x ranks. Two of them give the third; the total
alone or the micro-batch alone imply one accumulation step. A contradiction lists three legal repairs with their numbers.

Proven by tests/config: DeepSpeed's own arithmetic over all small cases, a table of every key and its status, a flip test (changing any
honoured key changes the configuration), mutated texts that must not crash, and typical files that must read.
)";

// Keys of one section, in the order declared.
struct Group {
  const Row* section = nullptr;
  std::vector<const Row*> rows;
};

std::string parent_of(const std::string& path) {
  const size_t dot = path.rfind('.');
  return dot == std::string::npos ? std::string() : path.substr(0, dot);
}

std::string name_in_section(const Row& row) {
  const size_t dot = row.path.rfind('.');
  return dot == std::string::npos ? row.path : row.path.substr(dot + 1);
}

std::string code(const std::string& text) {
  return std::string("`").append(text).append("`");
}

std::string default_of(const Row& row) {
  if (!row.key.default_text.empty()) return row.key.default_text;
  return row.standard.is_null() ? "none" : code(dump_json(row.standard, 0));
}

std::string accepted(const Row& row) {
  std::string text = expected_text(row.type, row.key);
  if (row.type == Type::kList || row.type == Type::kAny)
    return row.key.path ? "a list of paths" : "";
  if (row.type != Type::kChoice) return text;
  text.clear();
  for (const Choice& choice : row.key.choices) {
    if (choice.status == Status::kRefused) continue;
    text += (text.empty() ? "" : ", ") + code(quote_json(choice.name));
  }
  return text;
}

// Choices that are accepted without effect or refused, with their reasons.
std::string reservations(const Row& row) {
  std::vector<std::pair<std::string, std::string>> reasons;  // reason, names
  for (const Choice& choice : row.key.choices) {
    if (choice.status == Status::kHonoured) continue;
    const std::string reason = std::string(name_of(choice.status)) + ": " + choice.why;
    const auto same = std::find_if(reasons.begin(), reasons.end(),
                                   [&](const auto& r) { return r.first == reason; });
    if (same == reasons.end()) {
      reasons.emplace_back(reason, code(quote_json(choice.name)));
    } else {
      same->second += ", " + code(quote_json(choice.name));
    }
  }
  std::string text;
  for (const auto& [reason, names] : reasons) text += ". " + names + " " + reason;
  return text;
}

std::string aliases_of(const Row& row) {
  std::string text;
  for (const std::string& alias : row.key.aliases) text += (text.empty() ? "" : ", ") + code(alias);
  return text.empty() ? text : " (also " + text + ")";
}

bool has_effect(const Row& row) {
  return row.key.status == Status::kHonoured || row.key.status == Status::kMapped;
}

std::string effect_table(const Group& group) {
  std::string text;
  for (const Row* row : group.rows) {
    if (!has_effect(*row)) continue;
    if (text.empty()) text = "\n| key | value | default | what it does |\n|---|---|---|---|\n";
    std::string what = row->key.help + reservations(*row);
    if (row->key.status == Status::kMapped) {
      what += (what.empty() ? "mapped to " : "; mapped to ") + row->key.why;
    }
    text += "| " + code(name_in_section(*row)) + aliases_of(*row) + " | " + accepted(*row) + " | " +
            default_of(*row) + " | " + what + " |\n";
  }
  return text;
}

// "no effect: why", or what is said of each choice.
std::string verdict_of(const Row& row) {
  const std::string choices = reservations(row);
  if (!choices.empty()) return choices.substr(2);
  std::string text(name_of(row.key.status));
  return row.key.why.empty() ? text : text + ": " + row.key.why;
}

// A line for each verdict, with the keys it is said of.
std::string other_list(const Group& group) {
  std::vector<std::pair<std::string, std::string>> lines;
  for (const Row* row : group.rows) {
    if (has_effect(*row)) continue;
    const std::string verdict = verdict_of(*row);
    const std::string name = code(name_in_section(*row)) + aliases_of(*row);
    const auto same = std::find_if(lines.begin(), lines.end(),
                                   [&](const auto& line) { return line.first == verdict; });
    if (same == lines.end()) {
      lines.emplace_back(verdict, name);
    } else {
      same->second += ", " + name;
    }
  }
  std::string text;
  for (const auto& [verdict, names] : lines) text += "- " + names + " - " + verdict + "\n";
  if (!text.empty()) text.insert(0, 1, '\n');
  return text;
}

std::string heading_of(const Group& group, const std::string& path) {
  if (path.empty()) return "## Run file\n";
  if (path == "deepspeed") return "## DeepSpeed: top level\n";
  std::string text = "### " + code(path);
  if (group.section != nullptr) text += aliases_of(*group.section);
  text += "\n";
  if (group.section != nullptr && !group.section->key.help.empty()) {
    text += "\n" + group.section->key.help + "\n";
  }
  return text;
}

}  // namespace

std::string markdown() {
  const Report report = describe_fields(RunConfig());
  std::vector<std::string> order;
  std::map<std::string, Group> groups;
  const auto group_of = [&](const std::string& path) -> Group& {
    if (!groups.contains(path)) order.push_back(path);
    return groups[path];
  };
  for (const Row& row : report.rows) {
    if (row.type == Type::kSection) {
      group_of(row.path).section = &row;
    } else {
      group_of(parent_of(row.path)).rows.push_back(&row);
    }
  }
  std::string text = kIntroduction;
  for (const std::string& path : order) {
    const Group& group = groups[path];
    if (group.rows.empty()) continue;
    text.append("\n").append(heading_of(group, path));
    text.append(effect_table(group)).append(other_list(group));
  }
  return text;
}

}  // namespace hydrofoil::config
