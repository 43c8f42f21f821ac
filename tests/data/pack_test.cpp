// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/data/pack.h"

#include <gtest/gtest.h>

#include "hydrofoil/core/error.h"
#include "hydrofoil/text/bpe_trainer.h"
#include "tests/support/scratch.h"

namespace hydrofoil::data::pack_test {
namespace {

text::Tokenizer tokenizer_of(const std::string& text, int64_t vocab_size = 300) {
  text::BpeTrainer trainer({.vocab_size = vocab_size});
  trainer.feed(text);
  return text::Tokenizer(trainer.train());
}

const std::string kText = "the quick brown fox jumps over the lazy dog, the end\nof the line\n";

std::string decoded(const TokenFile& file, const text::Tokenizer& tokenizer) {
  std::vector<int32_t> ids;
  for (int64_t i = 0; i < file.size(); ++i) ids.push_back(static_cast<int32_t>(file.at(i)));
  return tokenizer.decode(ids);
}

TEST(Pack, DocumentsComeBackWithAnEndAfterEach) {
  const test::Scratch scratch;
  const auto tokenizer = tokenizer_of(kText);
  const std::vector<std::string> sources{scratch.write("a.txt", kText),
                                         scratch.write("b.txt", "another one")};
  const TokenFile file = pack_documents(sources, tokenizer, scratch.path() / "out.tokens", 2);
  EXPECT_EQ(decoded(file, tokenizer), kText + "<|endoftext|>another one<|endoftext|>");
  EXPECT_EQ(file.documents(), 2);
  EXPECT_EQ(file.text_bytes(), kText.size() + 11);
  EXPECT_EQ(file.at(file.document_begin(1) - 1), *tokenizer.id_of("<|endoftext|>"));
}

TEST(Pack, TheEndOfTextTokenMayHaveAnotherNameOrBeAbsent) {
  const test::Scratch scratch;
  const std::vector<std::string> sources{scratch.write("a.txt", "<|endoftext|>")};
  const auto packed = [&](std::vector<std::string> special_tokens) {
    text::BpeTrainer trainer({.special_tokens = std::move(special_tokens)});
    const text::Tokenizer tokenizer(trainer.train());
    return decoded(pack_documents(sources, tokenizer, scratch.path() / "out.tokens", 2), tokenizer);
  };
  EXPECT_EQ(packed({"<|begin|>", "<|end_of_text|>"}), "<|endoftext|><|end_of_text|>");
  EXPECT_EQ(packed({}), "<|endoftext|>") << "what stands in the text is text";
}

TEST(Pack, LinesOfJsonAreDocuments) {
  const test::Scratch scratch;
  const auto tokenizer = tokenizer_of(kText);
  const std::vector<std::string> good{
      scratch.write("a.jsonl", "{\"text\":\"one\\n\"}\n\n{\"text\":\"two\",\"id\":1}\n")};
  const TokenFile file = pack_documents(good, tokenizer, scratch.path() / "out.tokens", 2);
  EXPECT_EQ(decoded(file, tokenizer), "one\n<|endoftext|>two<|endoftext|>");
  const std::vector<std::string> bad{
      scratch.write("b.jsonl", "{\"text\":\"one\"}\n{\"txt\":\"two\"}\n")};
  try {
    pack_documents(bad, tokenizer, scratch.path() / "bad.tokens", 2);
    ADD_FAILURE() << "accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.where(), bad[0] + ":2");
  }
  EXPECT_FALSE(std::filesystem::exists(scratch.path() / "bad.tokens"));
}

TEST(Pack, AFileIsKeptWhileItsSourcesAreTheSame) {
  const test::Scratch scratch;
  const auto tokenizer = tokenizer_of(kText);
  const auto out = scratch.path() / "out.tokens";
  std::vector<std::string> sources{scratch.write("a.txt", kText)};
  pack_documents(sources, tokenizer, out, 2);
  const auto made = std::filesystem::last_write_time(out);
  pack_documents(sources, tokenizer, out, 2);
  EXPECT_EQ(std::filesystem::last_write_time(out), made);
  scratch.write("a.txt", kText + "more");
  EXPECT_EQ(decoded(pack_documents(sources, tokenizer, out, 2), tokenizer),
            kText + "more<|endoftext|>");
  const auto other = tokenizer_of("completely different words here", 260);
  EXPECT_EQ(decoded(pack_documents(sources, other, out, 2), other), kText + "more<|endoftext|>");
}

void expect_refused(const std::vector<std::string>& sources, int64_t needed,
                    const std::string& message) {
  const test::Scratch scratch;
  try {
    pack_documents(sources, tokenizer_of(kText), scratch.path() / "out.tokens", needed);
    ADD_FAILURE() << "accepted " << sources[0];
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kData);
    EXPECT_NE(error.line().find(message), std::string::npos) << error.line();
    EXPECT_NE(error.line().find(sources[0]), std::string::npos) << error.line();
  }
}

TEST(Pack, BadSourcesAreNamedWithTheCause) {
  const test::Scratch scratch;
  expect_refused({scratch.path() / "absent.txt"}, 2, "no such text file");
  expect_refused({scratch.path()}, 2, "directory");
  expect_refused({scratch.write("empty.txt", "")}, 2, "empty");
  expect_refused({scratch.write("latin1.txt", "caf\xe9 au lait")}, 2, "byte 3");
  expect_refused({scratch.write("short.txt", "hi")}, 1000, "one sequence needs 1000");
}

TEST(Pack, ASourceThatIsShortenedMeanwhileIsRefused) {
  const test::Scratch scratch;
  std::string lines;
  for (int i = 0; i < 5000; ++i) lines += "{\"text\":\"line " + std::to_string(i) + "\"}\n";
  for (const std::string name : {"a.txt", "a.jsonl"}) {
    const std::string source = scratch.write(name, lines);
    try {
      for_each_document(source, [&](std::string_view text) {
        std::filesystem::resize_file(source, 4096);
        EXPECT_EQ(text.find("no such words"), std::string_view::npos) << "reads all of it";
      });
      ADD_FAILURE() << "accepted " << name;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::kData);
      EXPECT_EQ(error.where(), source);
      EXPECT_STREQ(error.what(), "was shortened while it was being read");
    }
  }
}

TEST(Pack, NoSourcesGiveTooFewTokens) {
  const test::Scratch scratch;
  EXPECT_THROW(pack_documents({}, tokenizer_of(kText), scratch.path() / "out.tokens", 1), Error);
}

TEST(TokenFile, DamageIsRefused) {
  const test::Scratch scratch;
  const auto tokenizer = tokenizer_of(kText);
  const auto out = scratch.path() / "out.tokens";
  const std::vector<std::string> sources{scratch.write("a.txt", kText)};
  pack_documents(sources, tokenizer, out, 2);
  const std::string whole = io::read_text(out);
  for (const size_t length : {size_t{0}, size_t{10}, size_t{64}, whole.size() - 1}) {
    scratch.write("cut.tokens", whole.substr(0, length));
    EXPECT_THROW(TokenFile(scratch.path() / "cut.tokens"), Error) << length;
  }
  std::string other = whole;
  other[0] = 'x';
  scratch.write("other.tokens", other);
  EXPECT_THROW(TokenFile(scratch.path() / "other.tokens"), Error);
  std::string huge = whole;
  for (size_t i = 16; i < 40; ++i) huge[i] = '\xff';
  scratch.write("huge.tokens", huge);
  EXPECT_THROW(TokenFile(scratch.path() / "huge.tokens"), Error);
}

}  // namespace
}  // namespace hydrofoil::data::pack_test
