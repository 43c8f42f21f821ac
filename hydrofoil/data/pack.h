// SPDX-License-Identifier: Apache-2.0
// Text files into a token file.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <string_view>

#include "hydrofoil/data/token_file.h"
#include "hydrofoil/text/tokenizer.h"

namespace hydrofoil::data {

// Packs UTF-8 text files, one document each (a .jsonl file: one document a line, its "text"), and
// an end-of-text token after each document (<|endoftext|>, <|end_of_text|>, </s> or [SEP],
// whichever is the tokenizer's first special one; none where it has none of them). A file at `out`
// that was made from the same bytes with the same tokenizer is kept. `needed`: tokens that must
// come out at least.
//
// Error(kData) for a source that is missing, a directory, empty, no UTF-8 (with the byte offset) or
// shortened by another program meanwhile, and for too few tokens (with both counts).
//
// Ends::kBetween leaves out the last end-of-text token: a text to be scored may go on.
enum class Ends : uint8_t { kAll, kBetween };
TokenFile pack_documents(std::span<const std::string> sources, const text::Tokenizer& tokenizer,
                         const std::filesystem::path& out, int64_t needed, Ends ends = Ends::kAll);

// Calls visit(text) for each document of a source, after the same checks.
using DocumentVisitor = std::function<void(std::string_view)>;
void for_each_document(const std::string& source, const DocumentVisitor& visit);

}  // namespace hydrofoil::data
