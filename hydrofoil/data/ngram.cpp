// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/data/ngram.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <string>

#include "hydrofoil/core/error.h"

namespace hydrofoil::data {
namespace {

constexpr uint64_t low_bits(int bits) {
  return bits >= 64 ? ~uint64_t{0} : (uint64_t{1} << bits) - 1;
}

// Where the key stands in an ascending list, if it does.
std::optional<size_t> index_of(const std::vector<uint64_t>& keys, uint64_t key) {
  const auto found = std::lower_bound(keys.begin(), keys.end(), key);
  if (found == keys.end() || *found != key) return std::nullopt;
  return static_cast<size_t>(found - keys.begin());
}

uint64_t checked(int64_t token, int64_t vocab_size) {
  if (token < 0 || token >= vocab_size)
    throw Error(ExitCode::kData, "token " + std::to_string(token) +
                                     " is outside the vocabulary of " + std::to_string(vocab_size));
  return static_cast<uint64_t>(token);
}

// The discounts of Chen and Goodman from how many n-grams occur once to four times. Where text is
// too small for them to mean anything (0 < D <= count must hold), half a count.
std::array<double, 4> discounts_of(const std::vector<uint32_t>& counts) {
  std::array<double, 5> kinds{};
  for (const uint32_t count : counts)
    if (count < kinds.size()) ++kinds[count];
  std::array<double, 4> discounts{0, 0.5, 0.5, 0.5};
  const double y = kinds[1] / (kinds[1] + 2 * kinds[2]);
  for (size_t i = 1; i < discounts.size(); ++i) {
    const auto count = static_cast<double>(i);
    const double discount = count - (count + 1) * y * kinds[i + 1] / kinds[i];
    if (discount > 0 && discount <= count) discounts[i] = discount;
  }
  return discounts;
}

}  // namespace

NgramModel::NgramModel(const NgramOptions& options)
    : vocab_size_(options.vocab_size),
      order_(options.order),
      bits_(std::bit_width(static_cast<uint64_t>(std::max<int64_t>(options.vocab_size, 2) - 1))) {
  if (vocab_size_ < 1 || order_ < 1 || order_ * bits_ > 64)
    throw Error(ExitCode::kConfig, std::to_string(order_) + "-grams of " +
                                       std::to_string(vocab_size_) +
                                       " tokens do not fit into 64 bits");
}

NgramModel::NgramModel(const TokenFile& tokens, const NgramOptions& options) : NgramModel(options) {
  std::vector<uint64_t> ngrams;
  ngrams.reserve(static_cast<size_t>(tokens.size()));
  collect(tokens.size(), [&](int64_t i) { return tokens.at(i); }, ngrams);
  count_levels(std::move(ngrams));
}

NgramModel::NgramModel(const Sampler& sampler, int64_t samples, const NgramOptions& options)
    : NgramModel(options) {
  const auto length = static_cast<size_t>(sampler.sequence_length());
  std::vector<int64_t> window(length + 1), labels(length);
  std::vector<uint64_t> ngrams;
  for (int64_t sample = 0; sample < std::min(samples, sampler.samples_per_epoch()); ++sample) {
    sampler.fill(sample, std::span(window).first(length), labels);
    window.back() = labels.back();
    collect(std::ssize(window), [&](int64_t i) { return window[static_cast<size_t>(i)]; }, ngrams);
  }
  count_levels(std::move(ngrams));
}

template <class At>
void NgramModel::collect(int64_t size, const At& at, std::vector<uint64_t>& ngrams) const {
  uint64_t key = 0;
  for (int64_t i = 0; i < size; ++i) {
    key = (key << bits_ | checked(at(i), vocab_size_)) & low_bits(order_ * bits_);
    if (i > 0 && i + 1 >= order_) ngrams.push_back(key);
  }
}

void NgramModel::count_levels(std::vector<uint64_t> ngrams) {
  if (ngrams.empty())
    throw Error(ExitCode::kData,
                "the text is shorter than one " + std::to_string(order_) + "-gram");
  levels_.resize(static_cast<size_t>(order_));
  for (int length = order_; length > 0; --length) {
    std::sort(ngrams.begin(), ngrams.end());
    auto& level = levels_[static_cast<size_t>(length) - 1];
    level = count(ngrams, bits_);
    // A shorter n-gram counts once for every different token before it.
    ngrams = level.keys;
    for (auto& longer : ngrams) longer &= low_bits((length - 1) * bits_);
  }
}

NgramModel::Level NgramModel::count(const std::vector<uint64_t>& sorted, int bits) {
  Level level;
  for (const uint64_t key : sorted) {
    if (level.keys.empty() || level.keys.back() != key) {
      level.keys.push_back(key);
      level.counts.push_back(0);
    }
    ++level.counts.back();
  }
  level.discounts = discounts_of(level.counts);
  for (size_t i = 0; i < level.keys.size(); ++i) {
    const uint64_t context = level.keys[i] >> bits;
    if (level.contexts.empty() || level.contexts.back() != context) {
      level.contexts.push_back(context);
      level.stats.push_back({0, 0});
    }
    level.stats.back().total += level.counts[i];
    level.stats.back().backoff += level.discount(level.counts[i]);
  }
  for (auto& context : level.stats) context.backoff /= context.total;
  return level;
}

// Of the last `length` tokens of the key: the last one after the others. From short to long.
double NgramModel::probability_of(uint64_t key, int length) const {
  double p = 1.0 / static_cast<double>(vocab_size_);
  for (int n = 1; n <= length; ++n) {
    const Level& level = levels_[static_cast<size_t>(n) - 1];
    const uint64_t ngram = key & low_bits(n * bits_);
    const auto context = index_of(level.contexts, ngram >> bits_);
    if (!context) break;  // nor was any longer context seen
    const auto& [total, backoff] = level.stats[*context];
    p *= backoff;
    if (const auto seen = index_of(level.keys, ngram)) {
      const uint32_t times = level.counts[*seen];
      p += (times - level.discount(times)) / total;
    }
  }
  return p;
}

double NgramModel::probability(std::span<const int64_t> context, int64_t token) const {
  const size_t length = std::min(context.size(), static_cast<size_t>(order_) - 1);
  uint64_t key = 0;
  for (const int64_t t : context.last(length)) key = key << bits_ | checked(t, vocab_size_);
  key = key << bits_ | checked(token, vocab_size_);
  return probability_of(key, static_cast<int>(length) + 1);
}

NgramModel::Score NgramModel::score(const TokenFile& tokens) const {
  if (tokens.size() < 2) throw Error(ExitCode::kData, "one token cannot be predicted from others");
  double bits = 0;
  uint64_t key = checked(tokens.at(0), vocab_size_);
  for (int64_t i = 1; i < tokens.size(); ++i) {
    key = key << bits_ | checked(tokens.at(i), vocab_size_);
    bits -= std::log2(probability_of(key, static_cast<int>(std::min<int64_t>(order_, i + 1))));
  }
  const auto predicted = static_cast<double>(tokens.size() - 1);
  return {.bits_per_byte = bits / static_cast<double>(tokens.text_bytes()),
          .perplexity = std::exp2(bits / predicted),
          .tokens = tokens.size() - 1};
}

}  // namespace hydrofoil::data
