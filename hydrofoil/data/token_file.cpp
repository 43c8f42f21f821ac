// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/data/token_file.h"

#include <cstring>
#include <utility>

#include "hydrofoil/core/error.h"

namespace hydrofoil::data {
namespace {

constexpr std::array<char, 8> kMagic{'H', 'F', 'T', 'O', 'K', 'E', 'N', 'S'};
constexpr uint32_t kVersion = 1;
constexpr size_t kFlushBytes = size_t{1} << 20;

struct Header {
  std::array<char, 8> magic = kMagic;
  uint32_t version = kVersion;
  uint32_t width = 2;
  uint64_t tokens = 0, documents = 0, text_bytes = 0;
  std::array<uint8_t, 16> key{};
  uint64_t reserved = 0;
};
static_assert(sizeof(Header) == 64);

uint64_t file_bytes(const Header& header) {
  const uint64_t tokens = (header.tokens * header.width + 7) / 8 * 8;  // the index is aligned
  return sizeof(Header) + tokens + header.documents * sizeof(uint64_t);
}

std::array<uint8_t, 16> key_bytes(const SourceKey& key) {
  std::array<uint8_t, 16> bytes{};
  for (size_t i = 0; i < bytes.size() && 2 * i + 1 < key.size(); ++i)
    bytes[i] = static_cast<uint8_t>(std::stoul(key.substr(2 * i, 2), nullptr, 16));
  return bytes;
}

SourceKey key_text(const std::array<uint8_t, 16>& bytes) {
  constexpr const char* kDigits = "0123456789abcdef";
  SourceKey text;
  for (const uint8_t byte : bytes) text += {kDigits[byte >> 4], kDigits[byte & 15]};
  return text;
}

}  // namespace

TokenFile::TokenFile(const std::filesystem::path& path) : map_(io::File(path, io::Access::kRead)) {
  const auto bytes = map_.bytes();
  Header header;
  const auto refuse = [&](const char* why) {
    throw Error(ExitCode::kData, why, path.string(), "delete it: it is made again from the text");
  };
  if (bytes.size() < sizeof header) refuse("too short for a token file");
  std::memcpy(&header, bytes.data(), sizeof header);
  if (header.magic != kMagic) refuse("not a token file");
  if (header.version != kVersion || (header.width != 2 && header.width != 4))
    refuse("a token file of another version");
  if (header.tokens > bytes.size() || header.documents > bytes.size() ||
      file_bytes(header) != bytes.size())
    refuse("a token file of the wrong size");
  tokens_ = bytes.data() + sizeof header;
  size_ = static_cast<int64_t>(header.tokens);
  documents_ = static_cast<int64_t>(header.documents);
  width_ = header.width;
  text_bytes_ = header.text_bytes;
  key_ = key_text(header.key);
}

int64_t TokenFile::document_begin(int64_t document) const {
  uint64_t begin = 0;
  std::memcpy(&begin, tokens_ + (size_ * width_ + 7) / 8 * 8 + document * 8, sizeof begin);
  return static_cast<int64_t>(begin);
}

TokenFileWriter::TokenFileWriter(std::filesystem::path path, int64_t vocab_size, SourceKey key)
    : path_(std::move(path)),
      aside_(path_.string() + ".tmp-" + io::unique_id()),
      width_(vocab_size <= 1 << 16 ? 2 : 4),
      key_(std::move(key)) {
  file_.emplace(aside_, io::Access::kCreate);
  written_ = sizeof(Header);
}

TokenFileWriter::~TokenFileWriter() {
  if (!file_) return;
  std::error_code ignored;
  std::filesystem::remove(aside_, ignored);
}

void TokenFileWriter::begin_document(uint64_t text_bytes) {
  begins_.push_back(tokens_);
  text_bytes_ += text_bytes;
}

void TokenFileWriter::add(std::span<const int32_t> tokens) {
  for (const int32_t token : tokens) {
    const auto* bytes =
        reinterpret_cast<const std::byte*>(&token);  // little endian: low bytes first
    pending_.insert(pending_.end(), bytes, bytes + width_);
  }
  tokens_ += tokens.size();
  if (pending_.size() >= kFlushBytes) flush();
}

void TokenFileWriter::flush() {
  file_->write_at(written_, pending_);
  written_ += pending_.size();
  pending_.clear();
}

void TokenFileWriter::finish() {
  pending_.resize((pending_.size() + written_ + 7) / 8 * 8 - written_);
  flush();
  file_->write_at(written_, std::as_bytes(std::span(begins_)));
  const Header header{.width = static_cast<uint32_t>(width_),
                      .tokens = tokens_,
                      .documents = begins_.size(),
                      .text_bytes = text_bytes_,
                      .key = key_bytes(key_)};
  file_->write_at(0, std::as_bytes(std::span(&header, 1)));
  file_->sync();
  file_.reset();
  io::rename_path(aside_, path_);
  io::sync_directory(path_.parent_path().empty() ? "." : path_.parent_path());
}

}  // namespace hydrofoil::data
