// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/text/unicode.h"

#include <utf8proc.h>

#include <cstdlib>
#include <memory>

#include "hydrofoil/core/error.h"

namespace hydrofoil::text {
namespace {

bool is_ascii_symbol(int32_t c) {
  return (c >= 33 && c <= 47) || (c >= 58 && c <= 64) || (c >= 91 && c <= 96) ||
         (c >= 123 && c <= 126);
}

}  // namespace

std::string normalized(std::string_view text, NormalForm form) {
  const bool composes = form == NormalForm::kC || form == NormalForm::kKC,
             compatible = form == NormalForm::kKC || form == NormalForm::kKD;
  const int option =
      (composes ? UTF8PROC_COMPOSE : UTF8PROC_DECOMPOSE) | (compatible ? UTF8PROC_COMPAT : 0);
  utf8proc_uint8_t* result = nullptr;
  const auto length = utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(text.data()),
                                   static_cast<utf8proc_ssize_t>(text.size()), &result,
                                   static_cast<utf8proc_option_t>(UTF8PROC_STABLE | option));
  const std::unique_ptr<utf8proc_uint8_t, void (*)(void*)> owner(result, std::free);
  if (length < 0)
    throw Error(ExitCode::kData,
                std::string("Unicode normalisation failed: ") + utf8proc_errmsg(length));
  return {reinterpret_cast<const char*>(result), static_cast<size_t>(length)};
}

void for_each_grapheme(std::string_view text, const std::function<void(std::string_view)>& visit) {
  size_t begin = 0;
  int32_t last = -1, state = 0;
  for_each_character(text, [&](int32_t c, std::string_view bytes) {
    const auto at = static_cast<size_t>(bytes.data() - text.data());
    if (last >= 0 && utf8proc_grapheme_break_stateful(last, c, &state)) {
      visit(text.substr(begin, at - begin));
      begin = at;
    }
    last = c;
  });
  if (begin < text.size()) visit(text.substr(begin));
}

void append_character(int32_t character, std::string& to) {
  utf8proc_uint8_t bytes[4];
  const auto size = utf8proc_encode_char(character, bytes);
  to.append(reinterpret_cast<const char*>(bytes), static_cast<size_t>(size));
}

bool is_white_space(int32_t c) {
  return (c >= 0x09 && c <= 0x0D) || c == 0x20 || c == 0x85 || c == 0xA0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F ||
         c == 0x3000;
}

bool is_punctuation(int32_t c) {
  if (c < 0x80) return is_ascii_symbol(c);
  const auto category = utf8proc_category(c);
  return category >= UTF8PROC_CATEGORY_PC && category <= UTF8PROC_CATEGORY_PO;
}

bool is_other(int32_t c) {
  const auto category = utf8proc_category(c);
  return category == UTF8PROC_CATEGORY_CC || category == UTF8PROC_CATEGORY_CF ||
         category == UTF8PROC_CATEGORY_CO;
}

bool is_nonspacing_mark(int32_t c) {
  return utf8proc_category(c) == UTF8PROC_CATEGORY_MN;
}

bool is_mark(int32_t c) {
  const auto category = utf8proc_category(c);
  return category == UTF8PROC_CATEGORY_MN || category == UTF8PROC_CATEGORY_MC ||
         category == UTF8PROC_CATEGORY_ME;
}

void append_lower_case(int32_t c, std::string& to) {
  constexpr int32_t kDottedI = 0x130;
  append_character(c == kDottedI ? 'i' : utf8proc_tolower(c), to);
  if (c == kDottedI) to += "\u0307";
}

}  // namespace hydrofoil::text
