// SPDX-License-Identifier: Apache-2.0
// Base64: DeepSpeed launchers pass whole configurations in it, tokenizers their tables.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace hydrofoil {

// Url-safe or plain alphabet, padding optional. Nothing when `text` is not base64.
std::optional<std::string> decode_base64(std::string_view text);
// Plain alphabet, padded.
std::string encode_base64(std::string_view bytes);

}  // namespace hydrofoil
