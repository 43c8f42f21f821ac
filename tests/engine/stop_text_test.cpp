// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/engine/stop_text.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "hydrofoil/text/bpe_trainer.h"

namespace hydrofoil::engine::stop_text_test {
namespace {

// A token for each byte, and one of none.
const text::Tokenizer& bytes() {
  static const text::Tokenizer tokenizer(text::BpeTrainer({.vocab_size = 257}).train());
  return tokenizer;
}

std::string told(const std::string& text, std::vector<std::string> stops, bool* stopped = nullptr) {
  StopText stream(bytes(), std::move(stops));
  std::string result;
  for (const int32_t token : bytes().encode(text)) result += stream.push(token);
  if (stopped) *stopped = stream.stopped();
  return result + stream.finish();
}

TEST(StopText, TellsAllWithoutAStopString) {
  EXPECT_EQ(told("hällo 🙂!", {}), "hällo 🙂!");
  EXPECT_EQ(told("hällo 🙂!", {"!!", "x"}), "hällo 🙂!");
}

TEST(StopText, EndsBeforeAStopStringThatSpansTokens) {
  bool stopped = false;
  EXPECT_EQ(told("one\nUser: two", {"\nUser:"}, &stopped), "one");
  EXPECT_TRUE(stopped);
  EXPECT_EQ(told("one\nUse it", {"\nUser:"}, &stopped), "one\nUse it");
  EXPECT_FALSE(stopped);
}

TEST(StopText, TakesTheFirstOfSeveral) {
  EXPECT_EQ(told("abcde", {"e", "cd"}), "ab");
  EXPECT_EQ(told("aaab", {"aab"}), "a");  // begins twice
}

TEST(StopText, HoldsBackOnlyWhatMayBecomeAStopString) {
  StopText stream(bytes(), {"END"});
  std::vector<std::string> pieces;
  for (const int32_t token : bytes().encode("aEbEN")) pieces.push_back(stream.push(token));
  EXPECT_EQ(pieces, (std::vector<std::string>{"a", "", "Eb", "", ""}));
  EXPECT_EQ(stream.finish(), "EN");
}

}  // namespace
}  // namespace hydrofoil::engine::stop_text_test
