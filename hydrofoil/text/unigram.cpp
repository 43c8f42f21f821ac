// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/text/unigram.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include "hydrofoil/core/error.h"
#include "hydrofoil/text/pieces.h"

namespace hydrofoil::text {
namespace {

constexpr double kUnknownPenalty = 10;  // below the least likely token

std::vector<int32_t> sorted_ids(const std::vector<std::string>& tokens,
                                std::span<const int32_t> excluded) {
  std::vector<int32_t> ids(tokens.size());
  std::iota(ids.begin(), ids.end(), 0);
  const auto token = [&](int32_t id) -> const std::string& {
    return tokens[static_cast<size_t>(id)];
  };
  std::erase_if(ids, [&](int32_t id) {
    return token(id).empty() || std::ranges::find(excluded, id) != excluded.end();
  });
  std::ranges::sort(ids, {}, token);
  return ids;
}

}  // namespace

Unigram::Unigram(UnigramSpec spec, std::span<const int32_t> excluded) : spec_(std::move(spec)) {
  if (spec_.scores.size() != spec_.tokens.size() || spec_.unknown < 0 ||
      spec_.unknown >= std::ssize(spec_.tokens))
    throw Error(ExitCode::kData, "the unknown token " + std::to_string(spec_.unknown) +
                                     " is none of " + std::to_string(spec_.tokens.size()));
  if (!std::ranges::all_of(spec_.scores, [](double score) { return std::isfinite(score); }))
    throw Error(ExitCode::kData, "the score of a token is not finite");
  unknown_score_ = std::ranges::min(spec_.scores) - kUnknownPenalty;
  for (size_t id = 0; id < spec_.tokens.size(); ++id)
    if (!spec_.tokens[id].empty() &&
        !ids_.emplace(spec_.tokens[id], static_cast<int32_t>(id)).second)
      throw Error(ExitCode::kData, "the token \"" + spec_.tokens[id] + "\" is listed twice");
  build_trie(excluded);
}

// Breadth first over the sorted tokens: a node stands for those that begin alike.
void Unigram::build_trie(std::span<const int32_t> excluded) {
  const auto order = sorted_ids(spec_.tokens, excluded);
  const auto token = [&](size_t i) -> const std::string& {
    return spec_.tokens[static_cast<size_t>(order[i])];
  };
  struct Range {
    size_t begin, end, depth;
  };
  nodes_.emplace_back();
  std::vector<Range> ranges{{0, order.size(), 0}};  // by node
  for (size_t n = 0; n < nodes_.size(); ++n) {
    auto [begin, end, depth] = ranges[n];
    if (begin < end && token(begin).size() == depth) nodes_[n].id = order[begin++];
    nodes_[n].children = static_cast<uint32_t>(nodes_.size());
    while (begin < end) {
      const char label = token(begin)[depth];
      size_t last = begin;
      while (last < end && token(last)[depth] == label) ++last;
      nodes_.push_back({.label = static_cast<uint8_t>(label)});
      ranges.push_back({std::exchange(begin, last), last, depth + 1});
      ++nodes_[n].count;
    }
  }
}

const Unigram::Node* Unigram::child(const Node& node, char label) const {
  const std::span children(nodes_.data() + node.children, node.count);
  const auto found =
      std::ranges::lower_bound(children, static_cast<uint8_t>(label), {}, &Node::label);
  return found == children.end() || found->label != static_cast<uint8_t>(label) ? nullptr : &*found;
}

void Unigram::find_best(std::string_view word, std::vector<Best>& best) const {
  best.assign(word.size() + 1, {});
  for (size_t begin = 0, size = 0; begin < word.size(); begin += size) {
    size = character_bytes(word[begin]);
    const auto offer = [&](size_t end, double score, int32_t id) {
      score += best[begin].score;
      if (best[end].begin == kNone || score > best[end].score) best[end] = {score, begin, id};
    };
    bool known = false;  // the character alone
    const Node* node = nodes_.data();
    for (size_t at = begin; at < word.size() && (node = child(*node, word[at])); ++at) {
      if (node->id < 0) continue;
      offer(at + 1, spec_.scores[static_cast<size_t>(node->id)], node->id);
      known = known || at + 1 == begin + size;
    }
    if (!known) offer(begin + size, unknown_score_, spec_.unknown);
  }
}

void Unigram::encode_word(std::string_view word, Scratch& scratch,
                          std::vector<int32_t>& ids) const {
  find_best(word, scratch.best);
  auto& parts = scratch.parts;
  parts.clear();
  for (size_t end = word.size(); end > 0; end = scratch.best[end].begin)
    parts.push_back(scratch.best[end]);
  for (size_t i = parts.size(); i > 0;) {
    const Best& part = parts[--i];
    if (part.id != spec_.unknown) {
      ids.push_back(part.id);
      continue;
    }
    while (i > 0 && parts[i - 1].id == spec_.unknown) --i;
    const size_t end = i > 0 ? parts[i - 1].begin : word.size();
    append_unknown(word.substr(part.begin, end - part.begin), ids);
  }
}

void Unigram::append_unknown(std::string_view text, std::vector<int32_t>& ids) const {
  const size_t before = ids.size();
  for (size_t i = 0; spec_.byte_fallback && i < text.size(); ++i) {
    const auto id = find(byte_token(text[i]));
    if (!id) break;
    ids.push_back(*id);
  }
  if (ids.size() - before == text.size()) return;
  ids.resize(before);
  ids.push_back(spec_.unknown);
}

std::optional<int32_t> Unigram::find(std::string_view token) const {
  const auto found = ids_.find(token);
  return found == ids_.end() ? std::nullopt : std::optional(found->second);
}

std::string Unigram::decoded(std::string_view token, bool first) const {
  return with_spaces(token, spec_.space, first && spec_.drops_first_space ? "" : " ");
}

}  // namespace hydrofoil::text
