// SPDX-License-Identifier: Apache-2.0
// Documents as token ids: one packed file, mapped, or the same in memory.
//
//   TokenFile tokens("run/data/train.tokens");
//   tokens.at(i);                              // i in [0, size())
//
// Layout, little endian: 64 bytes of header (magic, version, bytes a token, counts, key), the
// tokens (2 bytes each while ids fit, else 4), then the index of the first token of each document
// (8 bytes). Every document ends with the end-of-text token, where the tokenizer has one.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "hydrofoil/io/file.h"

namespace hydrofoil::data {

// 32 hexadecimal digits: what a file was made from. A file with another key is out of date.
using SourceKey = std::string;

class TokenFile {
 public:
  // Error(kData) for what is no token file, or one that is cut short.
  explicit TokenFile(const std::filesystem::path& path);

  int64_t size() const { return size_; }  // tokens
  int64_t documents() const { return documents_; }
  uint64_t text_bytes() const { return text_bytes_; }  // of the documents before tokenising
  const SourceKey& key() const { return key_; }
  int64_t at(int64_t i) const {
    const std::byte* from = tokens_ + i * width_;
    return width_ == 2 ? int64_t{*reinterpret_cast<const uint16_t*>(from)}
                       : int64_t{*reinterpret_cast<const uint32_t*>(from)};
  }
  int64_t document_begin(int64_t document) const;

 private:
  io::MappedFile map_;
  const std::byte* tokens_ = nullptr;
  int64_t size_ = 0, documents_ = 0, width_ = 2;
  uint64_t text_bytes_ = 0;
  SourceKey key_;
};

// Writes a token file as tokens come; complete and in place after finish(), absent before.
class TokenFileWriter {
 public:
  // vocab_size decides the width of a token.
  TokenFileWriter(std::filesystem::path path, int64_t vocab_size, SourceKey key);
  ~TokenFileWriter();
  TokenFileWriter(const TokenFileWriter&) = delete;
  TokenFileWriter& operator=(const TokenFileWriter&) = delete;

  void begin_document(uint64_t text_bytes);
  void add(std::span<const int32_t> tokens);
  void finish();

 private:
  void flush();

  const std::filesystem::path path_, aside_;
  const int64_t width_;
  const SourceKey key_;
  std::optional<io::File> file_;
  std::vector<std::byte> pending_;
  std::vector<uint64_t> begins_;
  uint64_t tokens_ = 0, written_ = 0, text_bytes_ = 0;
};

}  // namespace hydrofoil::data
