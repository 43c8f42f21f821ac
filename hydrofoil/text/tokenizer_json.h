// SPDX-License-Identifier: Apache-2.0
// Reads and writes tokenizer.json of the HF `tokenizers` package, for byte-level BPE, Unigram and
// WordPiece.
//
// Read: model BPE (merges as "a b" or as pairs) with decoder ByteLevel, or Unigram with decoder
// Metaspace; normalizers NFC, NFD, NFKC, NFKD, Lowercase, StripAccents, Strip, Prepend, Replace,
// Precompiled; pre-tokenizers Split (Isolated or Removed), Digits and WhitespaceSplit, and at the
// end ByteLevel (BPE) or Metaspace (Unigram); post-processor ByteLevel, TemplateProcessing,
// BertProcessing, RobertaProcessing; or a Sequence of any of these. Model WordPiece: with
// BertNormalizer, BertPreTokenizer and decoder WordPiece. What is not supported is refused by name.
// Truncation, padding and the pair template are not part of a TokenizerSpec.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "hydrofoil/text/tokenizer.h"

namespace hydrofoil::text {

// `where` names the source in errors. Throws Error(kData); never anything else for any input.
TokenizerSpec parse_tokenizer_json(std::string_view json, const std::string& where);

// The `tokenizers` package loads the result and encodes to equal ids. The same specification always
// gives the same text.
std::string to_tokenizer_json(const TokenizerSpec& spec);

// `path` is the file or a folder that holds tokenizer.json.
Tokenizer load_tokenizer(const std::filesystem::path& path);
// Replaces the file in one step. Throws Error(kError) when it cannot be written.
void save_tokenizer(const TokenizerSpec& spec, const std::filesystem::path& path);

// 32 hexadecimal digits (XXH3-128 of the JSON): equal for equal specifications only.
std::string fingerprint(const TokenizerSpec& spec);

}  // namespace hydrofoil::text
