// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/text/bpe_trainer.h"

#include <algorithm>
#include <queue>
#include <unordered_map>

#include "hydrofoil/core/error.h"
#include "hydrofoil/text/utf8.h"

namespace hydrofoil::text {
namespace {

constexpr size_t kLongestWordBytes = 1024;  // a merge costs the length of each word it is in
constexpr int64_t kBlockBytes = 64 << 10;

struct Pair {
  int32_t left, right;
  bool operator==(const Pair&) const = default;
  auto operator<=>(const Pair&) const = default;
};
struct PairHash {
  size_t operator()(const Pair& pair) const {
    const uint64_t key = static_cast<uint64_t>(pair.left) << 32 | static_cast<uint32_t>(pair.right);
    return static_cast<size_t>((key * 0x9E3779B97F4A7C15) >> 16);
  }
};

// Where a pair occurs and how often. A word stays listed after the pair has left it.
struct Occurrence {
  int64_t count = 0;
  std::vector<uint32_t> words;
};

struct Candidate {
  int64_t count;
  Pair pair;
  // The largest count first, then the smallest pair.
  bool operator<(const Candidate& other) const {
    return count != other.count ? count < other.count : pair > other.pair;
  }
};

// Incremental training: each merge visits the words that hold its pair and moves the counts of the
// pairs around it. Counts in the heap are upper bounds, refreshed when they come to the top; pairs
// that become more frequent are pushed again.
class Merger {
 public:
  Merger(const WordMap& words, const std::vector<int64_t>& counts, BpeSpec& spec)
      : counts_(counts), spec_(spec) {
    std::array<int32_t, 256> id_of{};
    for (size_t id = 0; id < spec.tokens.size(); ++id) {
      if (spec.tokens[id].size() == 1) id_of[static_cast<uint8_t>(spec.tokens[id][0])] = id;
      known_.emplace(spec.tokens[id], id);
    }
    begin_.push_back(0);
    for (uint32_t w = 0; w < words.size(); ++w) {
      for (const char c : words.word(w)) symbols_.push_back(id_of[static_cast<uint8_t>(c)]);
      begin_.push_back(symbols_.size());
      length_.push_back(words.word(w).size());
    }
    for (uint32_t w = 0; w < words.size(); ++w)
      for (size_t i = begin_[w]; i + 1 < begin_[w + 1]; ++i)
        change({symbols_[i], symbols_[i + 1]}, w, counts_[w]);
    for (const auto& [pair, occurrence] : pairs_) heap_.push({occurrence.count, pair});
  }

  void run(int64_t vocab_size, int64_t min_count) {
    while (static_cast<int64_t>(spec_.tokens.size()) < vocab_size && !heap_.empty()) {
      const Candidate top = heap_.top();
      heap_.pop();
      const auto found = pairs_.find(top.pair);
      if (found == pairs_.end()) continue;
      const int64_t count = found->second.count;
      if (count != top.count) {
        if (count >= min_count) heap_.push({count, top.pair});
        continue;
      }
      if (count < min_count) return;
      const auto words = std::move(found->second.words);
      pairs_.erase(found);
      merge(top.pair, words);
    }
  }

 private:
  void merge(Pair pair, const std::vector<uint32_t>& words) {
    // Two pairs may spell the same token: "ab" + "c" and "a" + "bc".
    std::string token = spec_.tokens[pair.left] + spec_.tokens[pair.right];
    const auto next_id = static_cast<int32_t>(spec_.tokens.size());
    const auto place = known_.emplace(token, next_id);
    if (place.second) spec_.tokens.push_back(std::move(token));
    spec_.merges.emplace_back(pair.left, pair.right);
    grown_.clear();
    for (const uint32_t word : words) merge_in(word, pair, place.first->second);
    std::sort(grown_.begin(), grown_.end());
    grown_.erase(std::unique(grown_.begin(), grown_.end()), grown_.end());
    for (const Pair& other : grown_)
      if (const auto found = pairs_.find(other); found != pairs_.end() && found->second.count > 0)
        heap_.push({found->second.count, other});
  }

  // Replaces the pair in one word, left to right, in place.
  void merge_in(uint32_t word, Pair pair, int32_t id) {
    int32_t* symbols = symbols_.data() + begin_[word];
    const size_t length = length_[word];
    const int64_t count = counts_[word];
    size_t out = 0;
    for (size_t i = 0; i < length; ++i) {
      if (i + 1 == length || symbols[i] != pair.left || symbols[i + 1] != pair.right) {
        symbols[out++] = symbols[i];
        continue;
      }
      if (out > 0) {
        change({symbols[out - 1], pair.left}, word, -count);
        change({symbols[out - 1], id}, word, count);
      }
      if (i + 2 < length) {
        change({pair.right, symbols[i + 2]}, word, -count);
        change({id, symbols[i + 2]}, word, count);
      }
      symbols[out++] = id;
      ++i;
    }
    length_[word] = out;
  }

  void change(Pair pair, uint32_t word, int64_t by) {
    if (by < 0) {
      // The pair that is being merged has no entry any more.
      if (const auto found = pairs_.find(pair); found != pairs_.end()) found->second.count += by;
      return;
    }
    Occurrence& occurrence = pairs_[pair];
    occurrence.count += by;
    if (occurrence.words.empty() || occurrence.words.back() != word)
      occurrence.words.push_back(word);
    grown_.push_back(pair);
  }

  const std::vector<int64_t>& counts_;
  BpeSpec& spec_;
  std::unordered_map<std::string, int32_t> known_;  // ids by token
  std::vector<int32_t> symbols_;                    // of all words
  std::vector<size_t> begin_, length_;              // of each word in symbols_
  std::unordered_map<Pair, Occurrence, PairHash> pairs_;
  std::priority_queue<Candidate> heap_;
  std::vector<Pair> grown_;
};

}  // namespace

BpeTrainer::BpeTrainer(BpeTrainerOptions options)
    : options_(std::move(options)),
      pre_tokenizer_(options_.split),
      scratch_(pre_tokenizer_.new_scratch()) {
  const auto least = static_cast<int64_t>(256 + options_.special_tokens.size());
  if (options_.vocab_size < least)
    throw Error(ExitCode::kConfig,
                "a byte-level vocabulary of " + std::to_string(options_.vocab_size) +
                    " tokens is too small",
                "vocab_size", "use at least " + std::to_string(least));
  for (const auto& token : options_.special_tokens)
    if (token.size() < 2)
      throw Error(ExitCode::kConfig, "the special token \"" + token + "\" is too short",
                  "special_tokens", "single bytes are tokens already: use two or more");
}

void BpeTrainer::feed(std::string_view text) {
  check_utf8(text, {});
  while (!text.empty()) {
    const auto room = static_cast<size_t>(std::max<int64_t>(1, kBlockBytes - block_bytes_));
    const size_t line_end = options_.stride == 1 ? std::string_view::npos
                                                 : text.find('\n', std::min(room, text.size()) - 1);
    const std::string_view block = text.substr(0, line_end == text.npos ? line_end : line_end + 1);
    if (block_ % options_.stride == 0) count_words(block);
    text.remove_prefix(block.size());
    block_bytes_ += static_cast<int64_t>(block.size());
    if (block_bytes_ >= kBlockBytes) ++block_, block_bytes_ = 0;
  }
}

void BpeTrainer::count_words(std::string_view text) {
  pre_tokenizer_.split(text, scratch_, [&](std::string_view word) {
    for (; !word.empty(); word.remove_prefix(std::min(word.size(), kLongestWordBytes))) {
      const auto place = words_.insert(word.substr(0, kLongestWordBytes));
      if (place.added) counts_.push_back(0);
      ++counts_[place.index];
    }
  });
}

TokenizerSpec BpeTrainer::train() const {
  TokenizerSpec spec;
  spec.split = options_.split;
  for (const auto& content : options_.special_tokens) {
    const auto id = static_cast<int32_t>(spec.bpe.tokens.size());
    spec.added_tokens.push_back({.id = id, .content = content, .special = true});
    spec.bpe.tokens.push_back(content);
  }
  for (const uint8_t byte : byte_level_order())
    spec.bpe.tokens.emplace_back(1, static_cast<char>(byte));
  Merger(words_, counts_, spec.bpe).run(options_.vocab_size, options_.min_count);
  return spec;
}

}  // namespace hydrofoil::text
