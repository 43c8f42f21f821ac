// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/io/zip.h"

#include <algorithm>
#include <cstring>
#include <optional>
#include <set>
#include <string_view>

#include "hydrofoil/core/error.h"

namespace hydrofoil::io {
namespace {

// Signatures and fixed sizes of the records (PKWARE's APPNOTE, 4.3).
constexpr uint32_t kLocal = 0x04034b50, kCentral = 0x02014b50, kEnd = 0x06054b50;
constexpr uint32_t kEnd64 = 0x06064b50, kEnd64Locator = 0x07064b50;
constexpr uint64_t kLocalBytes = 30, kCentralBytes = 46, kEndBytes = 22;
constexpr uint64_t kEnd64Bytes = 56, kEnd64LocatorBytes = 20, kMaxComment = 0xffff;
constexpr uint16_t kZip64Field = 1, kEncrypted = 1, kStored = 0;
constexpr uint32_t kElsewhere = 0xffffffff;  // the number stands in the zip64 field

struct Directory {
  uint64_t entries = 0, offset = 0, bytes = 0;
};

class Archive {
 public:
  Archive(std::span<const std::byte> file, const std::string& where) : file_(file), where_(where) {}

  std::vector<ZipEntry> read() const {
    const Directory directory = find_directory();
    std::vector<ZipEntry> entries;
    std::set<std::string> seen;
    uint64_t at = directory.offset;
    for (uint64_t i = 0; i < directory.entries; ++i) {
      const uint64_t begin = at;
      entries.push_back(read_entry(at, directory));
      if (!seen.insert(entries.back().name).second)
        refuse(begin, "has the entry '" + printable(entries.back().name) + "' twice");
    }
    check_apart(entries);
    return entries;
  }

 private:
  [[noreturn]] void refuse(uint64_t at, const std::string& message) const {
    throw Error(ExitCode::kCheckpoint, message, where_ + ", byte " + std::to_string(at),
                "the file is damaged or not a ZIP archive of PyTorch");
  }

  static std::string printable(std::string text) {
    for (char& c : text)
      if (c < 0x20 || c > 0x7e) c = '?';
    return text;
  }

  // A little-endian number; the caller has checked that its record is there.
  template <class T>
  T number(uint64_t at) const {
    T value;
    std::memcpy(&value, file_.data() + at, sizeof(T));
    return value;
  }
  bool has(uint64_t at, uint64_t bytes) const {
    return at <= file_.size() && bytes <= file_.size() - at;
  }
  void need(uint64_t at, uint64_t bytes, const char* what) const {
    if (!has(at, bytes))
      refuse(at, std::string(what) + " of " + std::to_string(bytes) +
                     " bytes does not fit into the file of " + std::to_string(file_.size()));
  }
  std::string text(uint64_t at, uint64_t bytes) const {
    return {reinterpret_cast<const char*>(file_.data()) + at, bytes};
  }

  // The record at the very end of the file, before a comment of the length it states.
  uint64_t find_end() const {
    if (file_.size() < kEndBytes)
      refuse(0, "has " + std::to_string(file_.size()) + " bytes, too few for a ZIP archive");
    const uint64_t last = file_.size() - kEndBytes;
    for (uint64_t back = 0; back <= std::min(last, kMaxComment); ++back)
      if (number<uint32_t>(last - back) == kEnd && number<uint16_t>(last - back + 20) == back)
        return last - back;
    refuse(last, "has no end record of a ZIP archive");
  }

  Directory find_directory() const {
    const uint64_t end = find_end();
    Directory found{number<uint16_t>(end + 10), number<uint32_t>(end + 16),
                    number<uint32_t>(end + 12)};
    uint64_t limit = end;
    if (end >= kEnd64LocatorBytes && number<uint32_t>(end - kEnd64LocatorBytes) == kEnd64Locator) {
      const uint64_t record = number<uint64_t>(end - kEnd64LocatorBytes + 8);
      need(record, kEnd64Bytes, "the zip64 end record");
      if (number<uint32_t>(record) != kEnd64) refuse(record, "expected the zip64 end record");
      found = {number<uint64_t>(record + 32), number<uint64_t>(record + 48),
               number<uint64_t>(record + 40)};
      limit = record;
    }
    if (found.offset > limit || found.bytes > limit - found.offset)
      refuse(end, "a directory of " + std::to_string(found.bytes) + " bytes at byte " +
                      std::to_string(found.offset) + " does not fit before its end record at " +
                      std::to_string(limit));
    if (found.entries > found.bytes / kCentralBytes)
      refuse(end, std::to_string(found.entries) + " entries do not fit into a directory of " +
                      std::to_string(found.bytes) + " bytes");
    return found;
  }

  // Moves `at` behind the entry.
  ZipEntry read_entry(uint64_t& at, const Directory& directory) const {
    const uint64_t begin = at, end = directory.offset + directory.bytes;
    if (end - at < kCentralBytes || number<uint32_t>(at) != kCentral)
      refuse(at, "expected an entry of the directory");
    const uint64_t name_bytes = number<uint16_t>(at + 28), extra_bytes = number<uint16_t>(at + 30);
    const uint64_t comment_bytes = number<uint16_t>(at + 32);
    if (end - at - kCentralBytes < name_bytes + extra_bytes + comment_bytes)
      refuse(at, "an entry goes on past the directory");
    ZipEntry entry{text(at + kCentralBytes, name_bytes), 0, 0};
    const std::string what = "entry '" + printable(entry.name) + "'";
    if (number<uint16_t>(at + 8) & kEncrypted) refuse(begin, what + " is encrypted");
    if (const auto method = number<uint16_t>(at + 10); method != kStored)
      refuse(begin, what + " is compressed (method " + std::to_string(method) +
                        "), expected stored bytes");
    uint64_t numbers[] = {number<uint32_t>(at + 24), number<uint32_t>(at + 20),
                          number<uint32_t>(at + 42)};  // bytes, stored bytes, local header
    if (!widen(at + kCentralBytes + name_bytes, extra_bytes, numbers))
      refuse(begin, what + " lacks its zip64 field");
    if (numbers[0] != numbers[1]) refuse(begin, what + " is stored in another size than its own");
    entry.bytes = numbers[0];
    entry.offset = data_offset(numbers[2], entry, directory.offset);
    at += kCentralBytes + name_bytes + extra_bytes + comment_bytes;
    return entry;
  }

  // Takes numbers that do not fit 32 bits from the zip64 field; false when they are not there.
  bool widen(uint64_t at, uint64_t extra_bytes, uint64_t (&numbers)[3]) const {
    const auto wanted =
        static_cast<uint64_t>(std::count(std::begin(numbers), std::end(numbers), kElsewhere));
    if (wanted == 0) return true;
    const uint64_t end = at + extra_bytes;
    while (end - at >= 4) {
      const uint64_t id = number<uint16_t>(at), bytes = number<uint16_t>(at + 2);
      at += 4;
      if (bytes > end - at) return false;
      if (id == kZip64Field) {
        if (bytes < 8 * wanted) return false;
        for (uint64_t& value : numbers)
          if (value == kElsewhere) {
            value = number<uint64_t>(at);
            at += 8;
          }
        return true;
      }
      at += bytes;
    }
    return false;
  }

  // Behind the local header, whose name and padding have lengths of their own.
  uint64_t data_offset(uint64_t local, const ZipEntry& entry, uint64_t limit) const {
    need(local, kLocalBytes, "a local header");
    if (number<uint32_t>(local) != kLocal) refuse(local, "expected a local header");
    const uint64_t name_bytes = number<uint16_t>(local + 26);
    const uint64_t offset = local + kLocalBytes + name_bytes + number<uint16_t>(local + 28);
    if (offset > limit || entry.bytes > limit - offset)
      refuse(local, "entry '" + printable(entry.name) + "': " + std::to_string(entry.bytes) +
                        " bytes at byte " + std::to_string(offset) +
                        " do not fit before the directory at " + std::to_string(limit));
    if (text(local + kLocalBytes, name_bytes) != entry.name)
      refuse(local, "entry '" + printable(entry.name) + "' has another name in its local header");
    return offset;
  }

  void check_apart(const std::vector<ZipEntry>& entries) const {
    std::vector<const ZipEntry*> order;
    for (const ZipEntry& entry : entries)
      if (entry.bytes > 0) order.push_back(&entry);
    std::sort(order.begin(), order.end(),
              [](const auto* a, const auto* b) { return a->offset < b->offset; });
    for (size_t i = 1; i < order.size(); ++i)
      if (order[i - 1]->offset + order[i - 1]->bytes > order[i]->offset)
        refuse(order[i]->offset, "entries '" + printable(order[i - 1]->name) + "' and '" +
                                     printable(order[i]->name) + "' overlap");
  }

  std::span<const std::byte> file_;
  const std::string& where_;
};

}  // namespace

std::vector<ZipEntry> read_zip(std::span<const std::byte> file, const std::string& where) {
  return Archive(file, where).read();
}

}  // namespace hydrofoil::io
