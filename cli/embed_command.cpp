// SPDX-License-Identifier: Apache-2.0
#include "cli/embed_command.h"

#include <algorithm>
#include <fstream>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "cli/model_arguments.h"
#include "cli/packed_options.h"
#include "cli/source_reader.h"
#include "hydrofoil/core/error.h"
#include "hydrofoil/inference/embedder.h"
#include "hydrofoil/inference/packed_model.h"
#include "hydrofoil/inference/team.h"

namespace hydrofoil::cli {
namespace {

constexpr size_t kTextsAtATime = 256;  // between two writes

struct EmbedArguments : ModelArguments {
  std::string texts, output, type = "auto";
  int64_t length = 0;  // 0: the model's
  bool truncate = false;
};

// Lines of a file as tokens, with the template's around them; empty lines are none.
class TextFile {
 public:
  TextFile(const EmbedArguments& arguments, const text::Tokenizer& tokenizer, int64_t positions)
      : path_(arguments.texts),
        tokenizer_(tokenizer),
        length_(arguments.length > 0 ? std::min(arguments.length, positions) : positions),
        truncate_(arguments.truncate),
        file_(path_) {
    if (!file_) throw Error(ExitCode::kData, errno_message("open"), path_);
  }

  struct Text {
    size_t line = 0;
    std::vector<int32_t> tokens;
  };
  std::vector<Text> next(size_t most) {
    std::vector<Text> texts;
    for (std::string line; texts.size() < most && std::getline(file_, line);) {
      ++number_;
      if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
      texts.push_back({number_, tokens_of(line)});
    }
    return texts;
  }

 private:
  std::vector<int32_t> tokens_of(const std::string& line) const {
    auto json = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
    if (json.is_object() && json.contains("text")) json = json["text"];
    if (!json.is_string()) throw bad(R"(expected a text, or {"text": ".."})");
    const auto text = json.get<std::string>();
    auto tokens = tokenizer_.encode(text, {.add_template = true, .parse_special = false});
    if (tokens.empty()) throw bad("a text without tokens has no vector");
    const auto most = static_cast<size_t>(length_);
    if (tokens.size() <= most) return tokens;
    if (!truncate_)
      throw bad("the text has " + std::to_string(tokens.size()) + " tokens, more than " +
                std::to_string(most) + " (--truncate leaves out its end)");
    const auto& suffix = tokenizer_.spec().suffix;
    tokens.resize(most);
    if (suffix.size() < most) std::ranges::copy(suffix, tokens.end() - std::ssize(suffix));
    return tokens;
  }
  Error bad(const std::string& why) const {
    return Error(ExitCode::kData, "line " + std::to_string(number_) + ": " + why, path_);
  }

  const std::string path_;
  const text::Tokenizer& tokenizer_;
  const int64_t length_;
  const bool truncate_;
  std::ifstream file_;
  size_t number_ = 0;
};

int embed(const EmbedArguments& arguments) {
  const auto source = model_source(arguments);
  const auto spec = source.spec();
  inference::Team team(threads_of(arguments));
  const auto tokenizer = tokenizer_of(source);
  const auto encoder = inference::pack_encoder(spec, SourceReader(source.weights()),
                                               inference::kWeightTypes.at(arguments.type));
  inference::Embedder embedder(encoder, team);
  TextFile texts(arguments, tokenizer, embedder.positions());
  std::ofstream file;
  if (!arguments.output.empty()) {
    file.open(arguments.output);
    if (!file) throw Error(ExitCode::kError, errno_message("open"), arguments.output);
  }
  std::ostream& out = arguments.output.empty() ? std::cout : file;
  for (auto some = texts.next(kTextsAtATime); !some.empty(); some = texts.next(kTextsAtATime)) {
    std::vector<std::vector<int32_t>> tokens;
    for (auto& text : some) tokens.push_back(std::move(text.tokens));
    const auto vectors = embedder.embed(tokens);
    for (size_t i = 0; i < some.size(); ++i)
      out << nlohmann::ordered_json{{"line", some[i].line},
                                    {"tokens", tokens[i].size()},
                                    {"embedding", vectors[i]}}
                 .dump()
          << "\n";
    if (!out.flush()) throw Error(ExitCode::kError, "the output cannot be written");
  }
  return 0;
}

}  // namespace

void add_embed_command(CLI::App& app, Action& action) {
  auto* command = app.add_subcommand("embed", "Turn texts into vectors, with an encoder");
  auto arguments = std::make_shared<EmbedArguments>();
  add_model_options(command, *arguments);
  command->add_option("--texts", arguments->texts, R"(JSON lines: texts, or objects with "text")")
      ->required()
      ->check(CLI::ExistingFile);
  command->add_option("--output", arguments->output, "JSON lines; else standard output");
  command
      ->add_option("--length", arguments->length, "tokens of a text at most (default: the model's)")
      ->check(CLI::PositiveNumber);
  command->add_flag("--truncate", arguments->truncate,
                    "longer texts lose their end, in place of an error");
  add_weight_type(command, arguments->type);
  command->footer(
      "A text's vector is the mean of its tokens' last hidden states, of length 1: dot products "
      "are\n"
      "cosines.\n"
      "Example:\n  hydrofoil embed models/all-MiniLM-L6-v2 --texts texts.jsonl --output "
      "vectors.jsonl");
  command->callback([&action, arguments] { action = [arguments] { return embed(*arguments); }; });
}

}  // namespace hydrofoil::cli
