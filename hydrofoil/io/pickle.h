// SPDX-License-Identifier: Apache-2.0
// Python's pickle as inert data. A pickle is a program that may call anything; here a call is a
// node with a name and arguments, and every name must be on the caller's list. Nothing is ever
// executed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace hydrofoil::io {

// Largest pickle, and most values in one: some 150,000 tensors, and at most half a GiB of memory.
constexpr uint64_t kMaxPickleBytes = uint64_t{16} << 20;
constexpr size_t kMaxPickleValues = size_t{2} << 20;

struct PickleValue {
  enum class Kind : uint8_t {
    kNone,
    kFlag,
    kInteger,
    kNumber,
    kText,
    kTuple,
    kList,
    kDict,        // items: key, value, key, value; also an OrderedDict
    kGlobal,      // text: "module name"
    kCall,        // text: what is called; items: the tuple of its arguments, an object's state
    kPersistent,  // items: the id
  };
  Kind kind = Kind::kNone;
  int64_t integer = 0;  // and kFlag
  double number = 0;
  std::string text = {};
  std::vector<const PickleValue*> items = {};
};

// Protocols 2 to 5 with the instructions that torch.save emits for tensors in containers. Values
// may be shared, and may contain themselves: whoever walks them needs a bound.
class Pickle {
 public:
  // globals: the names that may occur, as "module name". `where` is shown in errors, which are
  // Error(kCheckpoint) and say the byte.
  Pickle(std::span<const std::byte> bytes, std::span<const std::string_view> globals,
         const std::string& where);
  const PickleValue& root() const { return *root_; }

 private:
  friend class PickleMachine;
  std::deque<PickleValue> values_;  // owns; addresses are stable
  const PickleValue* root_ = nullptr;
};

}  // namespace hydrofoil::io
