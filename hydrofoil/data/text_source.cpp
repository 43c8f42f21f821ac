// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/data/text_source.h"

#include <algorithm>
#include <filesystem>

#include "hydrofoil/core/error.h"
#include "hydrofoil/io/watched_map.h"
#include "hydrofoil/text/utf8.h"

namespace hydrofoil::data {
namespace {

namespace fs = std::filesystem;

io::File open_source(const std::string& source) {
  std::error_code error;
  const auto status = fs::status(source, error);
  const auto refuse = [&](const char* why, const char* hint) {
    throw Error(ExitCode::kData, why, source, hint);
  };
  if (!fs::exists(status))
    refuse("no such text file", "check the path; relative ones start at the run file");
  if (fs::is_directory(status)) refuse("is a directory, not a text file", "name the files in it");
  if (!fs::is_regular_file(status)) refuse("is not a regular file", "copy the text into a file");
  io::File file(source, io::Access::kRead);
  if (file.size_bytes() == 0) refuse("the text file is empty", "give it text, or leave it out");
  return file;
}

}  // namespace

void with_bytes(const std::string& source,
                const std::function<void(std::span<const std::byte>)>& use) {
  const io::WatchedMap map(open_source(source));
  const auto require_intact = [&] {
    if (!map.intact())
      throw Error(ExitCode::kData, "was shortened while it was being read", source,
                  "start again when the program that writes it is done");
  };
  try {
    use(map.bytes());
  } catch (const Error&) {
    require_intact();
    throw;
  }
  require_intact();
}

void with_text(const std::string& source, const std::function<void(std::string_view)>& use) {
  with_bytes(source, [&](std::span<const std::byte> bytes) {
    const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    text::check_utf8(text, source);
    use(text);
  });
}

void for_each_line(std::string_view text,
                   const std::function<void(std::string_view, size_t)>& visit) {
  for (size_t begin = 0, number = 1; begin < text.size(); ++number) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    const auto line = text.substr(begin, end - begin);
    begin = end + 1;
    if (line.find_first_not_of(" \t\r") != std::string_view::npos) visit(line, number);
  }
}

}  // namespace hydrofoil::data
