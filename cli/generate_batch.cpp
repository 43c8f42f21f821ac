// SPDX-License-Identifier: Apache-2.0
#include "cli/generate_batch.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <fstream>
#include <functional>
#include <iostream>
#include <nlohmann/json.hpp>
#include <numeric>
#include <unordered_map>
#include <utility>
#include <vector>

#include "hydrofoil/core/error.h"
#include "hydrofoil/core/host.h"
#include "hydrofoil/engine/engine.h"
#include "hydrofoil/engine/request_json.h"

namespace hydrofoil::cli {
namespace {

using Json = nlohmann::ordered_json;
using Clock = std::chrono::steady_clock;

constexpr size_t kBadLines = 5;  // named at most

struct Prompt {
  size_t line = 0;
  engine::Request request;
};

// Empty lines are none.
class PromptFile {
 public:
  PromptFile(const engine::Request& base, const text::Tokenizer& tokenizer,
             const engine::RequestLimits& limits)
      : base_(base), tokenizer_(tokenizer), limits_(limits) {}

  std::vector<Prompt> read(const std::string& path) {
    std::ifstream file(path);
    if (!file) throw Error(ExitCode::kData, errno_message("open"), path);
    size_t number = 0;
    for (std::string line; std::getline(file, line);) {
      ++number;
      if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
      try {
        prompts_.push_back({number, request_of(line)});
      } catch (const Error& error) {
        if (++bad_ <= kBadLines) named_ += "; line " + std::to_string(number) + ": " + error.what();
      }
    }
    if (bad_ > kBadLines) named_ += "; and more";
    if (bad_ > 0) throw Error(ExitCode::kData, std::to_string(bad_) + " bad lines" + named_, path);
    if (prompts_.empty()) throw Error(ExitCode::kData, "there are no prompts", path);
    return std::move(prompts_);
  }

 private:
  engine::Request request_of(const std::string& line) const {
    auto json = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
    if (json.is_discarded()) throw Error(ExitCode::kData, "this is not JSON");
    if (json.is_string()) json = {{"prompt", json}};
    auto request = engine::request_from_json(json, base_, tokenizer_);
    engine::check(request, limits_);
    return request;
  }

  const engine::Request& base_;
  const text::Tokenizer& tokenizer_;
  const engine::RequestLimits limits_;
  std::vector<Prompt> prompts_;
  size_t bad_ = 0;
  std::string named_;
};

// For keys and values. Many texts at a time are worth more than layers that need not be streamed:
// of a cap they may have what weights and steps can do without.
uint64_t allowed_bytes(const InferenceModel& opened, const BatchArguments& arguments) {
  if (arguments.cache_bytes > 0) return arguments.cache_bytes;
  if (opened.memory_cap == 0) return host::memory().usable_bytes() / 4;
  const auto& spec = opened.model.spec;
  const size_t page = inference::KvCache::page_bytes(spec, opened.cache);
  const auto positions =
      std::min(inference::Runner::position_limit(spec),
               static_cast<int64_t>((opened.memory_cap / page + 1) * engine::kPageTokens));
  const uint64_t step = engine::engine_bytes(opened.model, opened.team->size(),
                                             {.sequences = arguments.sequences}, positions)
                            .total();
  residency_beside(opened, step + page);
  const uint64_t left = bytes_beside_weights(opened, step + page);
  return left - std::min(left, step);
}

// Pages that the cache may have.
size_t allowed_pages(const InferenceModel& opened, const BatchArguments& arguments) {
  const uint64_t page = inference::KvCache::page_bytes(opened.model.spec, opened.cache) +
                        engine::PagePool::bytes_of(1);
  const uint64_t bytes = allowed_bytes(opened, arguments);
  if (bytes < page)
    throw Error(ExitCode::kDoesNotFit,
                "the cache may have " + std::to_string(bytes) + " bytes, but 16 positions take " +
                    std::to_string(page),
                {}, "raise --cache-bytes");
  return bytes / page;
}

size_t needed_pages(const std::vector<Prompt>& prompts, int64_t positions, size_t sequences) {
  std::vector<size_t> pages;
  for (const auto& [line, request] : prompts) {
    const auto end = static_cast<int64_t>(request.prompt.size()) + request.max_tokens;
    pages.insert(pages.end(), static_cast<size_t>(request.samples),
                 inference::KvCache::pages_for(std::min(end, positions)));
  }
  std::ranges::sort(pages, std::greater());
  pages.resize(std::min(pages.size(), sequences));
  return std::accumulate(pages.begin(), pages.end(), size_t{0});
}

// Of the longest text that the engine takes.
int64_t most_positions(const spec::ModelSpec& spec, const engine::EngineOptions& options) {
  return std::min(inference::Runner::position_limit(spec),
                  static_cast<int64_t>(options.cache_pages * engine::kPageTokens));
}

// One line of output, in the making.
struct Text {
  Json json;
  size_t tokens = 0;
  bool ended = false;
};

Json logprobs_of(const engine::Event& event) {
  Json top = Json::array();
  for (const auto& [token, logit] : event.logits.back().largest)
    top.push_back({{"token", token}, {"logprob", logit - event.logits.back().log_total}});
  return {{"token", *event.token}, {"logprob", event.log_probability}, {"top", std::move(top)}};
}

class Batch {
 public:
  Batch(engine::Engine& engine, std::ostream& out)
      : engine_(engine), out_(out), live_(isatty(STDERR_FILENO) == 1), start_(Clock::now()) {}

  void add(Prompt prompt) {
    const int samples = prompt.request.samples;
    const size_t prompt_tokens = prompt.request.prompt.size();
    first_[engine_.add(std::move(prompt.request))] = texts_.size();
    for (int sample = 0; sample < samples; ++sample)
      texts_.push_back({.json = {{"line", prompt.line},
                                 {"sample", sample},
                                 {"text", ""},
                                 {"finish_reason", nullptr},
                                 {"prompt_tokens", prompt_tokens},
                                 {"tokens", 0}}});
  }

  bool run() {  // whether all texts ended well
    while (engine_.busy()) {
      for (const auto& event : engine_.step()) accept(event);
      write_ended();
      tell(written_ == texts_.size());
    }
    return well_;
  }

 private:
  void accept(const engine::Event& event) {
    Text& text = texts_[first_.at(event.request) + static_cast<size_t>(event.sample)];
    text.json["text"].get_ref<std::string&>() += event.text;
    if (event.token) {
      ++tokens_;
      text.json["tokens"] = ++text.tokens;
      if (!event.logits.empty()) text.json["logprobs"].push_back(logprobs_of(event));
    }
    if (!event.finish) return;
    text.json["finish_reason"] = engine::name_of(*event.finish);
    text.ended = true;
    well_ = well_ && *event.finish != engine::Finish::kNumeric;
  }

  void write_ended() {
    for (; written_ < texts_.size() && texts_[written_].ended; ++written_)
      out_ << std::exchange(texts_[written_].json, nullptr).dump() << "\n";
    if (!out_.flush()) throw Error(ExitCode::kError, "the output cannot be written");
  }

  void tell(bool last) {
    const double seconds = std::chrono::duration<double>(Clock::now() - start_).count();
    if (!last && seconds < told_ + (live_ ? 0.5 : 10)) return;
    told_ = seconds;
    std::cerr << (live_ ? "\r" : "") << written_ << " of " << texts_.size() << " texts, " << tokens_
              << " tokens, " << static_cast<int64_t>(static_cast<double>(tokens_) / seconds)
              << " a second" << (live_ && !last ? "   " : "\n") << std::flush;
  }

  engine::Engine& engine_;
  std::ostream& out_;
  const bool live_;
  const Clock::time_point start_;
  std::vector<Text> texts_;
  std::unordered_map<uint64_t, size_t> first_;  // of a request's texts
  size_t written_ = 0, tokens_ = 0;
  double told_ = 0;
  bool well_ = true;
};

}  // namespace

int generate_batch(InferenceModel& opened, const engine::Request& base,
                   const BatchArguments& arguments) {
  const spec::ModelSpec spec = opened.model.spec;
  size_t allowed = allowed_pages(opened, arguments);
  const int64_t positions = most_positions(spec, {.cache_pages = allowed});
  auto prompts =
      PromptFile(base, opened.tokenizer, {.vocabulary = spec.vocab_size, .positions = positions})
          .read(arguments.prompts);
  allowed = std::min(allowed, allowed_pages(opened, arguments));  // beside the prompts
  std::ofstream file;
  if (!arguments.output.empty()) {
    file.open(arguments.output);
    if (!file) throw Error(ExitCode::kError, errno_message("open"), arguments.output);
  }
  const engine::EngineOptions options{
      .cache = opened.cache,
      .cache_pages = std::min(allowed, needed_pages(prompts, positions, arguments.sequences)),
      .sequences = arguments.sequences};
  load_weights(opened, engine::engine_bytes(opened.model, opened.team->size(), options,
                                            most_positions(spec, options))
                           .total());
  engine::Engine engine(opened.model, *opened.team, options, &opened.tokenizer);
  Batch batch(engine, arguments.output.empty() ? std::cout : file);
  for (auto& prompt : prompts) batch.add(std::move(prompt));
  return static_cast<int>(batch.run() ? ExitCode::kOk : ExitCode::kNumeric);
}

}  // namespace hydrofoil::cli
