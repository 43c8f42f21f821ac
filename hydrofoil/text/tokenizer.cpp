// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/text/tokenizer.h"

#include <algorithm>
#include <mutex>
#include <unordered_map>
#include <utility>

#include "hydrofoil/core/error.h"
#include "hydrofoil/text/added_tokens.h"
#include "hydrofoil/text/utf8.h"

namespace hydrofoil::text {
namespace {

constexpr size_t kPortionIds = 1 << 15;  // of a stream

// What one encoding needs besides the tokenizer; used by one thread at a time.
struct Scratch {
  PreTokenizer::Scratch split;
  Bpe::Scratch bpe;
  Unigram::Scratch unigram;
  std::vector<int32_t> ids;
};

std::vector<int32_t> special_ids(const TokenizerSpec& spec) {
  std::vector<int32_t> ids;
  for (const auto& token : spec.added_tokens)
    if (token.special) ids.push_back(token.id);
  return ids;
}

}  // namespace

const std::vector<std::string>& tokens_of(const TokenizerSpec& spec) {
  return spec.unigram      ? spec.unigram->tokens
         : spec.word_piece ? spec.word_piece->tokens
                           : spec.bpe.tokens;
}

struct Tokenizer::State {
  explicit State(TokenizerSpec from)
      : spec(std::move(from)),
        bpe(spec.bpe, special_ids(spec)),
        normalizer(spec.normalize),
        pre_tokenizer(spec.split) {
    if (spec.unigram) unigram.emplace(*spec.unigram, special_ids(spec));
    if (spec.word_piece) word_piece.emplace(*spec.word_piece);
    index_added_tokens();
    const auto& tokens = tokens_of(spec);
    for (size_t id = 0; decodes_pieces() && id < tokens.size(); ++id)
      decode_piece(static_cast<int32_t>(id), tokens[id]);
    for (const auto* ids : {&spec.prefix, &spec.suffix})
      for (const int32_t id : *ids)
        if (bytes_of(id).empty())
          throw Error(ExitCode::kData, "the template around texts uses id " + std::to_string(id) +
                                           ", which is no token");
  }

  void index_added_tokens() {
    for (const auto& token : spec.added_tokens) {
      if (token.id < 0 || token.content.empty())
        throw Error(ExitCode::kData, "an added token needs an id and a content");
      check_utf8(token.content, "an added token");
      if (!added.emplace(token.id, &token).second)
        throw Error(ExitCode::kData, "two added tokens have the id " + std::to_string(token.id));
      (token.normalized ? after_normalizing : before_normalizing).add(token);
      if (decodes_pieces()) decode_piece(token.id, token.content);
    }
  }

  // What a token adds to a text depends on whether it is the first.
  bool decodes_pieces() const { return word_piece || unigram || spec.bpe.characters; }

  void decode_piece(int32_t id, const std::string& token) {
    if (token.empty()) return;
    const auto decoded = [&](bool first) {
      return unigram      ? unigram->decoded(token, first)
             : word_piece ? word_piece->decoded(token, first)
                          : bpe.decoded(token, first);
    };
    first_pieces.emplace(id, decoded(true));
    pieces.emplace(id, decoded(false));
  }

  std::string_view bytes_of(int32_t id, bool first = false) const {
    if (decodes_pieces()) {
      const auto& decoded = first ? first_pieces : pieces;
      const auto found = decoded.find(id);
      return found == decoded.end() ? std::string_view() : found->second;
    }
    if (const auto found = added.find(id); found != added.end()) return found->second->content;
    if (id < 0 || id >= static_cast<int64_t>(spec.bpe.tokens.size())) return {};
    return spec.bpe.tokens[id];
  }

  std::unique_ptr<Scratch> take_scratch() {
    {
      const std::lock_guard lock(pool_mutex);
      if (!pool.empty()) {
        auto scratch = std::move(pool.back());
        pool.pop_back();
        return scratch;
      }
    }
    return std::make_unique<Scratch>(Scratch{pre_tokenizer.new_scratch(), {}, {}, {}});
  }

  void give_scratch(std::unique_ptr<Scratch> scratch) {
    scratch->ids.clear();
    const std::lock_guard lock(pool_mutex);
    pool.push_back(std::move(scratch));
  }

  const TokenizerSpec spec;
  const Bpe bpe;
  const Normalizer normalizer;
  const PreTokenizer pre_tokenizer;
  std::optional<Unigram> unigram;
  std::optional<WordPiece> word_piece;
  std::unordered_map<int32_t, std::string> pieces, first_pieces;  // as they decode
  std::unordered_map<int32_t, const AddedToken*> added;
  AddedTokenFinder before_normalizing, after_normalizing;

  std::mutex pool_mutex;
  std::vector<std::unique_ptr<Scratch>> pool;
};

namespace {

// Calls token(id) for each added token and text(piece) for what is between, in order.
template <class OnToken, class OnText>
void cut(const AddedTokenFinder& finder, std::string_view text, bool parse_special,
         const OnToken& on_token, const OnText& on_text) {
  for (size_t from = 0; from < text.size();) {
    const auto match = finder.search(text, from, parse_special);
    if (match.begin > from) on_text(text.substr(from, match.begin - from));
    if (match.token) on_token(match.token->id);
    from = match.end;
  }
}

}  // namespace

Tokenizer::Tokenizer(TokenizerSpec spec) : state_(std::make_unique<State>(std::move(spec))) {}
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;
Tokenizer& Tokenizer::operator=(Tokenizer&&) noexcept = default;
Tokenizer::~Tokenizer() = default;

void Tokenizer::encode_stream(std::string_view text, const EncodeOptions& options,
                              const Sink& sink) const {
  check_utf8(text, {});
  State& state = *state_;
  auto scratch = state.take_scratch();
  auto& ids = scratch->ids;
  const auto flush = [&](size_t at_least) {
    if (ids.size() < at_least) return;
    sink(ids);
    ids.clear();
  };
  const PreTokenizer::Sink on_word = [&](std::string_view word) {
    if (state.unigram) {
      state.unigram->encode_word(word, scratch->unigram, ids);
    } else {
      state.bpe.encode_word(word, scratch->bpe, ids);
    }
    flush(kPortionIds);
  };
  const auto on_token = [&](int32_t id) { ids.push_back(id); };
  const auto on_words = [&](std::string_view piece) {
    if (state.word_piece) return state.word_piece->encode(piece, ids, [&] { flush(kPortionIds); });
    state.pre_tokenizer.split(piece, scratch->split, on_word);
  };
  const auto on_piece = [&](std::string_view piece) {
    const bool kept = !state.word_piece && state.normalizer.keeps(piece);
    const std::string normal = kept               ? std::string()
                               : state.word_piece ? state.word_piece->normalize(piece)
                                                  : state.normalizer.apply(piece);
    const std::string_view words = kept ? piece : normal;
    scratch->split.start = piece.data() == text.data() ? words.data() : nullptr;
    cut(state.after_normalizing, words, options.parse_special, on_token, on_words);
  };
  if (options.add_template) ids = state.spec.prefix;
  cut(state.before_normalizing, text, options.parse_special, on_token, on_piece);
  if (options.add_template)
    ids.insert(ids.end(), state.spec.suffix.begin(), state.spec.suffix.end());
  flush(1);
  state.give_scratch(std::move(scratch));
}

std::vector<int32_t> Tokenizer::encode(std::string_view text, const EncodeOptions& options) const {
  std::vector<int32_t> all;
  encode_stream(text, options, [&](std::span<const int32_t> ids) {
    all.insert(all.end(), ids.begin(), ids.end());
  });
  return all;
}

std::string_view Tokenizer::token_bytes(int32_t id, bool first) const {
  return state_->bytes_of(id, first);
}

std::string Tokenizer::decode(std::span<const int32_t> ids, bool skip_special) const {
  std::string bytes, text;
  bool first = true;
  for (const int32_t id : ids)
    if (!skip_special || !is_special(id)) bytes += token_bytes(id, std::exchange(first, false));
  append_valid_utf8(bytes, true, text);
  return text;
}

int64_t Tokenizer::vocab_size() const {
  const auto& spec = state_->spec;
  auto size = std::ssize(tokens_of(spec));
  for (const auto& token : spec.added_tokens) size = std::max<int64_t>(size, token.id + int64_t{1});
  return size;
}

bool Tokenizer::is_special(int32_t id) const {
  const auto found = state_->added.find(id);
  return found != state_->added.end() && found->second->special;
}

std::optional<int32_t> Tokenizer::id_of(std::string_view token) const {
  for (const auto& added : state_->spec.added_tokens)
    if (added.content == token) return added.id;
  return state_->word_piece ? state_->word_piece->find(token)
         : state_->unigram  ? state_->unigram->find(token)
                            : state_->bpe.find(token);
}

const TokenizerSpec& Tokenizer::spec() const {
  return state_->spec;
}

std::string Detokenizer::push(int32_t id) {
  if (skip_special_ && tokenizer_->is_special(id)) return {};
  pending_ += tokenizer_->token_bytes(id, std::exchange(first_, false));
  std::string text;
  pending_.erase(0, append_valid_utf8(pending_, false, text));
  return text;
}

std::string Detokenizer::finish() {
  std::string text;
  append_valid_utf8(pending_, true, text);
  pending_.clear();
  first_ = true;
  return text;
}

}  // namespace hydrofoil::text
