// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/engine/stop_text.h"

#include <algorithm>
#include <utility>

namespace hydrofoil::engine {
namespace {

// The length of the longest end of the text that is a beginning of `stop`.
size_t begun(const std::string& text, const std::string& stop) {
  size_t length = std::min(text.size(), stop.size() - 1);
  while (!text.ends_with(std::string_view(stop).substr(0, length))) --length;
  return length;
}

}  // namespace

StopText::StopText(const text::Tokenizer& tokenizer, std::vector<std::string> stops)
    : words_(tokenizer, /*skip_special=*/true), stops_(std::move(stops)) {}

std::string StopText::push(int32_t token) {
  if (stopped_) return {};
  held_ += words_.push(token);
  return certain();
}

std::string StopText::finish() {
  if (stopped_) return {};
  held_ += words_.finish();
  std::string text = certain();
  return text + std::exchange(held_, {});
}

std::string StopText::certain() {
  size_t end = held_.size(), begun_at = end;
  for (const auto& stop : stops_) {
    end = std::min(end, held_.find(stop));
    begun_at = std::min(begun_at, held_.size() - begun(held_, stop));
  }
  stopped_ = end < held_.size();
  std::string text = held_.substr(0, std::min(end, begun_at));
  held_ = stopped_ ? std::string() : held_.substr(text.size());
  return text;
}

}  // namespace hydrofoil::engine
