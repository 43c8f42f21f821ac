// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/data/pack.h"

#include <nlohmann/json.hpp>
#include <optional>

#include "hydrofoil/core/error.h"
#include "hydrofoil/data/text_source.h"
#include "hydrofoil/io/hash.h"
#include "hydrofoil/text/tokenizer_json.h"

namespace hydrofoil::data {
namespace {

namespace fs = std::filesystem;

// The "text" of each line of a .jsonl file.
void for_each_object(const std::string& source, std::string_view all,
                     const DocumentVisitor& visit) {
  for_each_line(all, [&](std::string_view line, size_t number) {
    const auto object = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
    if (!object.is_object() || !object.contains("text") || !object["text"].is_string())
      throw Error(ExitCode::kData, "expected an object with a string \"text\"",
                  source + ":" + std::to_string(number));
    visit(object["text"].get_ref<const std::string&>());
  });
}

// The token that ends a document, by the names that tokenizers give it.
std::optional<int32_t> end_of_text(const text::Tokenizer& tokenizer) {
  for (const char* name : {"<|endoftext|>", "<|end_of_text|>", "</s>", "[SEP]"})
    if (const auto id = tokenizer.id_of(name); id && tokenizer.is_special(*id)) return id;
  return std::nullopt;
}

// Changes when any byte of the sources or the tokenizer does.
SourceKey key_of(std::span<const std::string> sources, const text::Tokenizer& tokenizer,
                 Ends ends) {
  std::string all = text::fingerprint(tokenizer.spec());
  if (ends == Ends::kBetween) all += " open";
  for (const auto& source : sources)
    with_bytes(source, [&](std::span<const std::byte> bytes) {
      all += " " + source + " " + io::hash_of(bytes);
    });
  return io::hash_of(all);
}

std::optional<TokenFile> current(const fs::path& path, const SourceKey& key) {
  if (!fs::exists(path)) return std::nullopt;
  try {
    TokenFile file(path);
    if (file.key() == key) return file;
  } catch (const Error&) {  // damaged or of another version: made again
  }
  return std::nullopt;
}

}  // namespace

void for_each_document(const std::string& source, const DocumentVisitor& visit) {
  with_text(source, [&](std::string_view text) {
    if (fs::path(source).extension() == ".jsonl") {
      for_each_object(source, text, visit);
    } else {
      visit(text);
    }
  });
}

TokenFile pack_documents(std::span<const std::string> sources, const text::Tokenizer& tokenizer,
                         const fs::path& out, int64_t needed, Ends ends) {
  const SourceKey key = key_of(sources, tokenizer, ends);
  auto packed = current(out, key);
  if (!packed) {
    const auto end = end_of_text(tokenizer);
    TokenFileWriter writer(out, tokenizer.vocab_size(), key);
    bool first = true;
    for (const auto& source : sources)
      for_each_document(source, [&](std::string_view text) {
        if (end && ends == Ends::kBetween && !std::exchange(first, false))
          writer.add(std::span(&*end, 1));
        writer.begin_document(text.size());
        tokenizer.encode_stream(text, {.parse_special = false},
                                [&](std::span<const int32_t> ids) { writer.add(ids); });
        if (end && ends == Ends::kAll) writer.add(std::span(&*end, 1));
      });
    writer.finish();
    packed.emplace(out);
  }
  if (packed->size() < needed)
    throw Error(ExitCode::kData,
                "the text gives " + std::to_string(packed->size()) +
                    " tokens, one sequence needs " + std::to_string(needed),
                sources.empty() ? std::string() : sources.front(),
                "add text, or lower data.sequence_length");
  return std::move(*packed);
}

}  // namespace hydrofoil::data
