// SPDX-License-Identifier: Apache-2.0
// Methods of strings and dictionaries.
#include <utf8proc.h>

#include <algorithm>
#include <map>
#include <string_view>

#include "hydrofoil/text/jinja/builtins.h"
#include "hydrofoil/text/unicode.h"

namespace hydrofoil::text::jinja {
namespace {

using Characters = std::vector<std::string>;

bool is_space(const std::string& character) {
  bool space = false;
  for_each_character(character, [&](int32_t c, std::string_view) {
    space = is_white_space(c) || (c >= 0x1C && c <= 0x1F);
  });
  return space;
}

std::string stripped(const std::string& text, const Value* set, bool left, bool right) {
  const Characters all = characters(text);
  const Characters dropped = set && set->string() ? characters(*set->string()) : Characters();
  const bool spaces = !set || set->is_none();
  const auto drop = [&](const std::string& c) {
    return spaces ? is_space(c) : std::ranges::find(dropped, c) != dropped.end();
  };
  size_t begin = 0, end = all.size();
  while (left && begin < end && drop(all[begin])) ++begin;
  while (right && end > begin && drop(all[end - 1])) --end;
  std::string out;
  for (size_t i = begin; i < end; ++i) out += all[i];
  return out;
}

template <class Convert>
std::string converted(const std::string& text, const Convert& convert) {
  std::string out;
  bool in_word = false;
  for_each_character(text, [&](int32_t c, std::string_view) {
    append_character(convert(c, in_word), out);
    const auto category = utf8proc_category(c);
    in_word = category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_LO;
  });
  return out;
}
std::string upper(const std::string& text) {
  return converted(text, [](int32_t c, bool) { return utf8proc_toupper(c); });
}
std::string lower(const std::string& text) {
  return converted(text, [](int32_t c, bool) { return utf8proc_tolower(c); });
}
std::string title(const std::string& text) {
  return converted(text, [](int32_t c, bool in_word) {
    return in_word ? utf8proc_tolower(c) : utf8proc_totitle(c);
  });
}
std::string capitalised(const std::string& text) {
  bool first = true;
  return converted(text, [&](int32_t c, bool) {
    return std::exchange(first, false) ? utf8proc_totitle(c) : utf8proc_tolower(c);
  });
}

List words(const std::string& text, int64_t most) {
  List parts;
  std::string word;
  const Characters all = characters(text);
  size_t i = 0;
  while (i < all.size()) {
    while (i < all.size() && is_space(all[i])) ++i;
    if (i == all.size()) break;
    const bool last = most >= 0 && static_cast<int64_t>(parts.size()) == most;
    for (; i < all.size() && (last || !is_space(all[i])); ++i) word += all[i];
    parts.push_back(last ? stripped(word, nullptr, false, true) : word);
    word.clear();
  }
  return parts;
}

List split(const std::string& text, const Arguments& arguments, bool from_right) {
  const Value* separator = arguments.find(0, "sep");
  const Value* limit = arguments.find(1, "maxsplit");
  const int64_t most = limit ? integer_of(*limit) : -1;
  if (!separator || separator->is_none()) return words(text, most);
  const std::string& cut = string_of(*separator);
  if (cut.empty()) fail("split needs a separator that is not empty");
  std::vector<size_t> cuts;
  for (size_t at = 0; (at = text.find(cut, at)) != std::string::npos; at += cut.size())
    cuts.push_back(at);
  if (most >= 0 && cuts.size() > static_cast<size_t>(most)) {
    const auto keep = static_cast<ptrdiff_t>(most);
    from_right ? cuts.erase(cuts.begin(), cuts.end() - keep)
               : cuts.erase(cuts.begin() + keep, cuts.end());
  }
  List parts;
  size_t begin = 0;
  for (const size_t at : cuts) {
    parts.push_back(text.substr(begin, at - begin));
    begin = at + cut.size();
  }
  parts.push_back(text.substr(begin));
  return parts;
}

List lines(const std::string& text) {
  List parts;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find_first_of("\r\n", begin), text.size());
    parts.push_back(text.substr(begin, end - begin));
    begin = end + (text.compare(end, 2, "\r\n") == 0 ? 2 : 1);
  }
  return parts;
}

std::string replaced(const std::string& text, const Arguments& arguments) {
  const std::string &from = string_of(arguments.at(0, "old")),
                    &to = string_of(arguments.at(1, "new"));
  const Value* limit = arguments.find(2, "count");
  int64_t left = limit && !limit->is_none() ? integer_of(*limit) : -1;
  std::string out;
  size_t at = 0;
  const auto check = [&] {
    if (out.size() > kMostBytes) fail("a string becomes too long");
  };
  if (from.empty()) {
    for (const auto& c : characters(text)) {
      if (left != 0) out += to, --left;
      out += c;
      check();
    }
    return left != 0 ? out + to : out;
  }
  for (size_t next; left != 0 && (next = text.find(from, at)) != std::string::npos; --left) {
    out.append(text, at, next - at).append(to);
    at = next + from.size();
    check();
  }
  return out.append(text, at);
}

bool any_of(const Value& what, const std::string& text,
            bool (*matches)(const std::string&, const std::string&)) {
  if (!what.list()) return matches(text, string_of(what));
  return std::ranges::any_of(*what.list(),
                             [&](const Value& one) { return matches(text, string_of(one)); });
}
bool starts(const std::string& text, const std::string& with) {
  return text.starts_with(with);
}
bool ends(const std::string& text, const std::string& with) {
  return text.ends_with(with);
}

// {} and {0} and {name}, without format specifications.
std::string formatted(const std::string& text, const Arguments& arguments) {
  std::string out;
  size_t next = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    if ((text[i] == '{' || text[i] == '}') && i + 1 < text.size() && text[i + 1] == text[i]) {
      out += text[i++];
    } else if (text[i] == '{') {
      const size_t end = text.find('}', i);
      if (end == std::string::npos) fail("format: a { without its }");
      const std::string field = text.substr(i + 1, end - i - 1);
      if (field.find_first_of(":!.[") != std::string::npos)
        fail("format: only {}, {0} and {name} are known, not {" + field + "}");
      const bool number = !field.empty() &&
                          field.find_first_not_of("0123456789") == std::string::npos &&
                          field.size() < 4;
      const size_t position = field.empty() ? next++
                              : number      ? std::stoul(field)
                                            : arguments.values.size();
      out += arguments.at(position, field.c_str()).text();
      i = end;
    } else {
      out += text[i];
    }
    if (out.size() > kMostBytes) fail("a string becomes too long");
  }
  return out;
}

int64_t position_of(const std::string& text, const Arguments& arguments) {
  const size_t at = text.find(string_of(arguments.at(0, "sub")));
  if (at == std::string::npos) return -1;
  return static_cast<int64_t>(characters(text.substr(0, at)).size());
}

int64_t count_of(const std::string& text, const std::string& what) {
  if (what.empty()) return static_cast<int64_t>(characters(text).size()) + 1;
  int64_t count = 0;
  for (size_t at = 0; (at = text.find(what, at)) != std::string::npos; at += what.size()) ++count;
  return count;
}

using Method = Value (*)(const std::string&, const Arguments&);

const std::map<std::string, Method>& string_methods() {
  static const std::map<std::string, Method> all = {
      {"strip",
       [](const std::string& s, const Arguments& a) -> Value {
         return stripped(s, a.find(0, "chars"), true, true);
       }},
      {"lstrip",
       [](const std::string& s, const Arguments& a) -> Value {
         return stripped(s, a.find(0, "chars"), true, false);
       }},
      {"rstrip",
       [](const std::string& s, const Arguments& a) -> Value {
         return stripped(s, a.find(0, "chars"), false, true);
       }},
      {"split",
       [](const std::string& s, const Arguments& a) -> Value { return split(s, a, false); }},
      {"rsplit",
       [](const std::string& s, const Arguments& a) -> Value { return split(s, a, true); }},
      {"splitlines", [](const std::string& s, const Arguments&) -> Value { return lines(s); }},
      {"startswith",
       [](const std::string& s, const Arguments& a) -> Value {
         return any_of(a.at(0, "prefix"), s, starts);
       }},
      {"endswith",
       [](const std::string& s, const Arguments& a) -> Value {
         return any_of(a.at(0, "suffix"), s, ends);
       }},
      {"upper", [](const std::string& s, const Arguments&) -> Value { return upper(s); }},
      {"lower", [](const std::string& s, const Arguments&) -> Value { return lower(s); }},
      {"title", [](const std::string& s, const Arguments&) -> Value { return title(s); }},
      {"capitalize",
       [](const std::string& s, const Arguments&) -> Value { return capitalised(s); }},
      {"replace", [](const std::string& s, const Arguments& a) -> Value { return replaced(s, a); }},
      {"join",
       [](const std::string& s, const Arguments& a) -> Value {
         return joined(items_of(a.at(0, "iterable")), s);
       }},
      {"format", [](const std::string& s, const Arguments& a) -> Value { return formatted(s, a); }},
      {"find", [](const std::string& s, const Arguments& a) -> Value { return position_of(s, a); }},
      {"count",
       [](const std::string& s, const Arguments& a) -> Value {
         return count_of(s, string_of(a.at(0, "sub")));
       }},
      {"isdigit",
       [](const std::string& s, const Arguments&) -> Value {
         return !s.empty() && s.find_first_not_of("0123456789") == std::string::npos;
       }},
      {"isspace",
       [](const std::string& s, const Arguments&) -> Value {
         return !s.empty() && std::ranges::all_of(characters(s), is_space);
       }},
      {"removeprefix",
       [](const std::string& s, const Arguments& a) -> Value {
         const auto& part = string_of(a.at(0, "prefix"));
         return s.starts_with(part) ? s.substr(part.size()) : s;
       }},
      {"removesuffix", [](const std::string& s, const Arguments& a) -> Value {
         const auto& part = string_of(a.at(0, "suffix"));
         return s.ends_with(part) ? s.substr(0, s.size() - part.size()) : s;
       }}};
  return all;
}

Value dict_method(const Value& object, const std::string& name, const Arguments& arguments) {
  if (name == "get") {
    const Value& key = arguments.at(0, "key");
    const Value* found = key.string() ? object.find(*key.string()) : nullptr;
    const Value* absent = arguments.find(1, "default");
    return found ? *found : absent ? *absent : Value(None{});
  }
  List all;
  for (const auto& [key, value] : *object.dict()) {
    if (name == "items")
      all.push_back(List{key, value});
    else if (name == "keys")
      all.push_back(key);
    else if (name == "values")
      all.push_back(value);
    else
      fail("a dictionary has no method " + name);
  }
  return all;
}

}  // namespace

const std::string& string_of(const Value& value) {
  if (!value.string()) fail("expected a string, not " + value.type());
  return *value.string();
}

int64_t integer_of(const Value& value) {
  if (value.boolean()) return *value.boolean() ? 1 : 0;
  if (!value.integer()) fail("expected an integer, not " + value.type());
  return *value.integer();
}

Value call_method(const Value& object, const std::string& name, const Arguments& arguments) {
  if (object.string()) {
    const auto found = string_methods().find(name);
    if (found == string_methods().end()) fail("a string has no method " + name);
    return found->second(*object.string(), arguments);
  }
  if (const Value* value = object.find(name); value && value->function())
    return (*value->function())(arguments);
  if (object.dict()) return dict_method(object, name, arguments);
  if (object.list() && (name == "append" || name == "pop" || name == "extend"))
    fail("lists cannot be changed: " + name);
  fail(object.type() + " has no method " + name);
}

std::string joined(const List& items, const std::string& separator) {
  std::string out;
  for (size_t i = 0; i < items.size(); ++i) {
    if (i > 0) out += separator;
    out += items[i].text();
    if (out.size() > kMostBytes) fail("a string becomes too long");
  }
  return out;
}

}  // namespace hydrofoil::text::jinja
