// SPDX-License-Identifier: Apache-2.0
// A file of whole lines, or other whole records, that survives a full disk, a kill and a resume.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <utility>

namespace hydrofoil::monitor {

// A write that fails (full disk, closed pipe) is warned about once and cut off the file again where
// that is possible; later lines are tried anew.
class LineFile {
 public:
  // Takes over nothing: the descriptor stays open afterwards. `name` is for the warning.
  static LineFile of_descriptor(int descriptor, std::string name);
  // Creates or empties the file. Error(kError) when it cannot be opened.
  static LineFile create(const std::string& path);
  // Keeps the leading lines that `keep` accepts, drops the rest (and a line that was not finished),
  // goes on behind them. Creates the file where there is none.
  static LineFile resume(const std::string& path,
                         const std::function<bool(std::string_view)>& keep);

  LineFile(LineFile&& other) noexcept;
  LineFile& operator=(LineFile&&) = delete;
  ~LineFile();

  void write(std::string line);          // without its end
  void append(std::string_view record);  // as it is
  bool empty() const;                    // of a file

 private:
  LineFile(int descriptor, bool owned, std::string name)
      : descriptor_(descriptor), owned_(owned), name_(std::move(name)) {}

  int descriptor_;
  bool owned_;
  bool warned_ = false;
  std::string name_;
};

}  // namespace hydrofoil::monitor
