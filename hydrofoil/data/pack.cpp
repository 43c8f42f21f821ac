// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/data/pack.h"

#include <nlohmann/json.hpp>
#include <optional>

#include "hydrofoil/core/error.h"
#include "hydrofoil/io/hash.h"
#include "hydrofoil/io/watched_map.h"
#include "hydrofoil/text/tokenizer_json.h"
#include "hydrofoil/text/utf8.h"

namespace hydrofoil::data {
namespace {

namespace fs = std::filesystem;

io::File open_source(const std::string& source) {
  std::error_code error;
  const auto status = fs::status(source, error);
  const auto refuse = [&](const char* why, const char* hint) {
    throw Error(ExitCode::kData, why, source, hint);
  };
  if (!fs::exists(status))
    refuse("no such text file", "check the path; relative ones start at the run file");
  if (fs::is_directory(status)) refuse("is a directory, not a text file", "name the files in it");
  if (!fs::is_regular_file(status)) refuse("is not a regular file", "copy the text into a file");
  io::File file(source, io::Access::kRead);
  if (file.size_bytes() == 0) refuse("the text file is empty", "give it text, or leave it out");
  return file;
}

// Calls use(bytes) with all of a source. When another program has shortened it meanwhile, what
// `use` saw, and what it found wrong with it, does not count.
template <typename Use>
void with_source(const std::string& source, const Use& use) {
  const io::WatchedMap map(open_source(source));
  const auto require_intact = [&] {
    if (!map.intact())
      throw Error(ExitCode::kData, "was shortened while it was being read", source,
                  "start again when the program that writes it is done");
  };
  try {
    use(map.bytes());
  } catch (const Error&) {
    require_intact();
    throw;
  }
  require_intact();
}

// The "text" of each line of a .jsonl file.
void for_each_line(const std::string& source, std::string_view all, const DocumentVisitor& visit) {
  for (size_t begin = 0, line = 1; begin < all.size(); ++line) {
    const size_t end = std::min(all.find('\n', begin), all.size());
    const auto text = all.substr(begin, end - begin);
    begin = end + 1;
    if (text.find_first_not_of(" \t\r") == std::string_view::npos) continue;
    const auto object = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
    if (!object.is_object() || !object.contains("text") || !object["text"].is_string())
      throw Error(ExitCode::kData, "expected an object with a string \"text\"",
                  source + ":" + std::to_string(line));
    visit(object["text"].get_ref<const std::string&>());
  }
}

// The token that ends a document, by the names that byte-level tokenizers give it.
std::optional<int32_t> end_of_text(const text::Tokenizer& tokenizer) {
  for (const char* name : {"<|endoftext|>", "<|end_of_text|>", "</s>"})
    if (const auto id = tokenizer.id_of(name); id && tokenizer.is_special(*id)) return id;
  return std::nullopt;
}

// Changes when any byte of the sources or the tokenizer does.
SourceKey key_of(std::span<const std::string> sources, const text::Tokenizer& tokenizer,
                 Ends ends) {
  std::string all = text::fingerprint(tokenizer.spec());
  if (ends == Ends::kBetween) all += " open";
  for (const auto& source : sources)
    with_source(source, [&](std::span<const std::byte> bytes) {
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
  with_source(source, [&](std::span<const std::byte> bytes) {
    const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    text::check_utf8(text, source);
    if (fs::path(source).extension() == ".jsonl") {
      for_each_line(source, text, visit);
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
