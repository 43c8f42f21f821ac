// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/engine/request_json.h"

#include <charconv>
#include <cstdio>
#include <functional>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>

#include "hydrofoil/core/error.h"

namespace hydrofoil::engine {
namespace {

using Json = nlohmann::json;
using inference::SamplingOptions;

[[noreturn]] void refuse(const std::string& field, const std::string& wanted) {
  throw Error(ExitCode::kData, "\"" + field + "\" must be " + wanted);
}

template <class Number>
Number number_from(const std::string& field, const Json& value, Number least, Number most) {
  const auto text = [](Number n) {
    char digits[32];
    std::snprintf(digits, sizeof(digits), "%.15g", static_cast<double>(n));
    return std::string(digits);
  };
  const bool fits = std::is_integral_v<Number> ? value.is_number_integer() : value.is_number();
  // As a double first: an integer in the text may be too large for the type.
  if (!fits || value.get<double>() < static_cast<double>(least) ||
      value.get<double>() > static_cast<double>(most))
    refuse(field, std::string(std::is_integral_v<Number> ? "an integer" : "a number") + " from " +
                      text(least) + " to " + text(most));
  return value.get<Number>();
}

std::vector<std::string> strings_from(const std::string& field, const Json& value) {
  if (value.is_string()) return {value.get<std::string>()};
  if (!value.is_array()) refuse(field, "a string or a list of strings");
  std::vector<std::string> strings;
  for (const auto& item : value) {
    if (!item.is_string()) refuse(field, "a string or a list of strings");
    strings.push_back(item.get<std::string>());
  }
  return strings;
}

std::vector<int32_t> prompt_from(const Json& value, const text::Tokenizer& tokenizer) {
  if (value.is_string()) return tokenizer.encode(value.get_ref<const std::string&>());
  if (!value.is_array()) refuse("prompt", "a string or a list of tokens");
  std::vector<int32_t> tokens;
  for (const auto& item : value)
    tokens.push_back(number_from<int32_t>("prompt", item, 0, std::numeric_limits<int32_t>::max()));
  return tokens;
}

std::vector<std::pair<int32_t, double>> bias_from(const Json& value) {
  if (!value.is_object()) refuse("logit_bias", "an object of numbers by token");
  std::vector<std::pair<int32_t, double>> bias;
  for (const auto& [key, number] : value.items()) {
    int32_t token = 0;
    const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), token);
    if (error != std::errc() || end != key.data() + key.size() || token < 0)
      refuse("logit_bias", "an object of numbers by token, \"" + key + "\" is none");
    bias.emplace_back(token, number_from("logit_bias", number, -100.0, 100.0));
  }
  return bias;
}

using Read = std::function<void(Request&, const std::string& field, const Json&)>;

Read real(double SamplingOptions::* member, double least, double most) {
  return [=](Request& request, const std::string& field, const Json& value) {
    request.sampling.*member = number_from(field, value, least, most);
  };
}

const std::map<std::string, Read>& readers() {
  constexpr int64_t kMost = int64_t{1} << 20;
  static const std::map<std::string, Read> all = {
      {"temperature", real(&SamplingOptions::temperature, 0, 100)},
      {"top_p", real(&SamplingOptions::top_p, 0, 1)},
      {"min_p", real(&SamplingOptions::min_p, 0, 1)},
      {"typical_p", real(&SamplingOptions::typical_p, 0, 1)},
      {"repetition_penalty", real(&SamplingOptions::repetition_penalty, 0.01, 100)},
      {"presence_penalty", real(&SamplingOptions::presence_penalty, -2, 2)},
      {"frequency_penalty", real(&SamplingOptions::frequency_penalty, -2, 2)},
      {"top_k",
       [](Request& r, const std::string& field, const Json& value) {
         r.sampling.top_k = number_from<int64_t>(field, value, 0, kMost);
       }},
      {"seed",
       [](Request& r, const std::string& field, const Json& value) {
         r.sampling.seed =
             static_cast<uint64_t>(number_from<int64_t>(field, value, 0, int64_t{1} << 53));
       }},
      {"max_tokens",
       [](Request& r, const std::string& field, const Json& value) {
         r.max_tokens = number_from<int64_t>(field, value, 0, kMost);
       }},
      {"n", [](Request& r, const std::string& field,
               const Json& value) { r.samples = number_from<int>(field, value, 1, 128); }},
      {"logprobs",
       [](Request& r, const std::string& field, const Json& value) {
         r.logits = static_cast<size_t>(number_from<int>(field, value, 0, 20));
       }},
      {"priority",
       [](Request& r, const std::string& field, const Json& value) {
         r.priority = number_from<int>(field, value, -100, 100);
       }},
      {"stop", [](Request& r, const std::string& field,
                  const Json& value) { r.stop = strings_from(field, value); }},
      {"logit_bias", [](Request& r, const std::string&, const Json& value) {
         r.sampling.logit_bias = bias_from(value);
       }}};
  return all;
}

}  // namespace

Request request_from_json(const Json& json, Request base, const text::Tokenizer& tokenizer) {
  if (!json.is_object()) throw Error(ExitCode::kData, "a request is an object");
  if (!json.contains("prompt")) throw Error(ExitCode::kData, "\"prompt\" is missing");
  Request request = std::move(base);
  for (const auto& [field, value] : json.items()) {
    if (field == "prompt") {
      request.prompt = prompt_from(value, tokenizer);
      continue;
    }
    const auto reader = readers().find(field);
    if (reader == readers().end())
      throw Error(ExitCode::kData, "\"" + field + "\" is no field of a request");
    reader->second(request, field, value);
  }
  return request;
}

}  // namespace hydrofoil::engine
