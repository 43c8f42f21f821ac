// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/data/labelled.h"

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>

#include "hydrofoil/core/error.h"
#include "hydrofoil/data/text_source.h"

namespace hydrofoil::data {
namespace {

struct Place {
  const std::string& source;
  size_t line = 0;
};

[[noreturn]] void refuse(const Place& place, const std::string& why) {
  throw Error(ExitCode::kData, why, place.source + ":" + std::to_string(place.line),
              "a line is {\"text\": .., \"label\": 0} in a .jsonl file, or text<TAB>label in a "
              ".tsv file whose first line names the columns");
}

std::vector<std::string_view> cells_of(std::string_view line) {
  if (line.ends_with('\r')) line.remove_suffix(1);
  std::vector<std::string_view> cells;
  for (size_t begin = 0; begin <= line.size();) {
    const size_t end = std::min(line.find('\t', begin), line.size());
    cells.push_back(line.substr(begin, end - begin));
    begin = end + 1;
  }
  return cells;
}

int64_t number_of(std::string_view text, const Place& place) {
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size())
    refuse(place, "the label \"" + std::string(text) + "\" is no number");
  return value;
}

using Visit = std::function<void(std::string_view text, int64_t label, const Place& place)>;

void read_jsonl(const std::string& source, std::string_view all, const Visit& visit) {
  for_each_line(all, [&](std::string_view line, size_t number) {
    const Place place{source, number};
    const auto object = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
    if (!object.is_object()) refuse(place, "expected an object");
    if (!object.contains("text") || !object["text"].is_string())
      refuse(place, "expected a string \"text\"");
    if (!object.contains("label") || !object["label"].is_number_integer())
      refuse(place, "expected a number \"label\"");
    visit(object["text"].get_ref<const std::string&>(), object["label"].get<int64_t>(), place);
  });
}

void read_tsv(const std::string& source, std::string_view all, const Visit& visit) {
  size_t text = 0, label = 0;
  bool header = true;
  for_each_line(all, [&](std::string_view line, size_t number) {
    const Place place{source, number};
    const auto cells = cells_of(line);
    if (std::exchange(header, false)) {
      const auto column = [&](std::initializer_list<std::string_view> names) {
        const auto found = std::ranges::find_first_of(cells, names);
        if (found == cells.end())
          refuse(place, "no column \"" + std::string(*names.begin()) + "\"");
        return static_cast<size_t>(found - cells.begin());
      };
      text = column({"text", "sentence"});
      label = column({"label"});
    } else if (cells.size() <= std::max(text, label)) {
      refuse(place, "expected " + std::to_string(std::max(text, label) + 1) + " columns, got " +
                        std::to_string(cells.size()));
    } else {
      visit(cells[text], number_of(cells[label], place), place);
    }
  });
}

}  // namespace

LabelledTexts::LabelledTexts(std::span<const std::string> sources, const text::Tokenizer& tokenizer,
                             int64_t length, int64_t classes) {
  const auto end_template = tokenizer.spec().suffix;
  const Visit add = [&](std::string_view text, int64_t label, const Place& place) {
    if (label < 0 || label >= classes)
      refuse(place, "the label " + std::to_string(label) + " is not one of the model's " +
                        std::to_string(classes) + " classes");
    auto ids = tokenizer.encode(text, {.add_template = true, .parse_special = false});
    if (ids.empty()) refuse(place, "the text has no tokens");
    if (std::ssize(ids) > length) {  // the text is cut, the template's end stays
      ids.resize(static_cast<size_t>(length));
      const size_t kept = std::min(end_template.size(), ids.size());
      std::copy(end_template.end() - static_cast<ptrdiff_t>(kept), end_template.end(),
                ids.end() - static_cast<ptrdiff_t>(kept));
    }
    tokens_.insert(tokens_.end(), ids.begin(), ids.end());
    ends_.push_back(tokens_.size());
    labels_.push_back(label);
  };
  for (const auto& source : sources)
    with_text(source, [&](std::string_view all) {
      if (std::filesystem::path(source).extension() == ".jsonl") {
        read_jsonl(source, all, add);
      } else {
        read_tsv(source, all, add);
      }
    });
  if (labels_.empty())
    throw Error(ExitCode::kData, "no labelled text",
                sources.empty() ? std::string() : sources.front());
}

std::span<const int32_t> LabelledTexts::tokens(int64_t i) const {
  const auto index = static_cast<size_t>(i);
  const size_t begin = index == 0 ? 0 : ends_[index - 1];
  return std::span(tokens_).subspan(begin, ends_[index] - begin);
}

}  // namespace hydrofoil::data
