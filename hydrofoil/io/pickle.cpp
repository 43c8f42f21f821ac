// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/io/pickle.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <unordered_map>

#include "hydrofoil/core/error.h"

namespace hydrofoil::io {
namespace {

using Kind = PickleValue::Kind;
constexpr std::string_view kOrderedDict = "collections OrderedDict";

// Instructions, by their names in Python's pickletools.
enum Op : uint8_t {
  kMark = '(',
  kStop = '.',
  kNone = 'N',
  kNewTrue = 0x88,
  kNewFalse = 0x89,
  kBinInt = 'J',
  kBinInt1 = 'K',
  kBinInt2 = 'M',
  kLong1 = 0x8a,
  kBinFloat = 'G',
  kShortBinString = 'U',
  kBinString = 'T',
  kShortBinUnicode = 0x8c,
  kBinUnicode = 'X',
  kEmptyTuple = ')',
  kTuple = 't',
  kTuple1 = 0x85,
  kTuple2 = 0x86,
  kTuple3 = 0x87,
  kEmptyList = ']',
  kAppend = 'a',
  kAppends = 'e',
  kEmptyDict = '}',
  kSetItem = 's',
  kSetItems = 'u',
  kGlobal = 'c',
  kStackGlobal = 0x93,
  kReduce = 'R',
  kNewObject = 0x81,
  kBuild = 'b',
  kBinPersId = 'Q',
  kBinPut = 'q',
  kLongBinPut = 'r',
  kMemoize = 0x94,
  kBinGet = 'h',
  kLongBinGet = 'j',
  kProto = 0x80,
  kFrame = 0x95,
};

}  // namespace

class PickleMachine {
 public:
  PickleMachine(std::span<const std::byte> bytes, std::span<const std::string_view> globals,
                const std::string& where, std::deque<PickleValue>& values)
      : bytes_(bytes), globals_(globals), where_(where), values_(values) {}

  const PickleValue* run() {
    if (bytes_.size() > kMaxPickleBytes)
      refuse("has " + std::to_string(bytes_.size()) + " bytes, at most " +
             std::to_string(kMaxPickleBytes) + " are expected");
    for (;;) {
      at_ = position_;
      const auto op = static_cast<Op>(number<uint8_t>());
      if (op == kStop) return pop();
      if (!push_scalar(op) && !push_container(op) && !fill_container(op) && !remember(op)) act(op);
    }
  }

 private:
  [[noreturn]] void refuse(const std::string& message) const {
    throw Error(ExitCode::kCheckpoint, message, where_ + ", byte " + std::to_string(at_),
                "only a state_dict of tensors is read; nothing of the file is executed");
  }

  // ---- bytes
  std::span<const std::byte> take(uint64_t count) {
    if (count > bytes_.size() - position_)
      refuse("expected " + std::to_string(count) + " bytes, " +
             std::to_string(bytes_.size() - position_) + " are left");
    position_ += count;
    return bytes_.subspan(position_ - count, count);
  }
  template <class T>
  T number() {
    T value;
    std::memcpy(&value, take(sizeof(T)).data(), sizeof(T));
    return value;
  }
  std::string text(uint64_t length) {
    const auto taken = take(length);
    return {reinterpret_cast<const char*>(taken.data()), taken.size()};
  }
  std::string line() {
    std::string result;
    while (result.size() < 256) {
      const auto c = number<char>();
      if (c == '\n') return result;
      result += c;
    }
    refuse("a name of more than 256 bytes");
  }

  // ---- the stack
  PickleValue* push(PickleValue value) {
    if (values_.size() >= kMaxPickleValues)
      refuse("has more than " + std::to_string(kMaxPickleValues) + " values");
    values_.push_back(std::move(value));
    stack_.push_back(&values_.back());
    return stack_.back();
  }
  PickleValue* top() const {
    if (stack_.empty() || (!marks_.empty() && marks_.back() == stack_.size()))
      refuse("takes a value from an empty stack");
    return stack_.back();
  }
  PickleValue* pop() {
    PickleValue* value = top();
    stack_.pop_back();
    return value;
  }
  // What has been pushed since the last mark.
  std::vector<const PickleValue*> pop_to_mark() {
    if (marks_.empty()) refuse("there is no mark");
    const auto begin = stack_.begin() + static_cast<std::ptrdiff_t>(marks_.back());
    marks_.pop_back();
    std::vector<const PickleValue*> items(begin, stack_.end());
    stack_.erase(begin, stack_.end());
    return items;
  }
  std::vector<const PickleValue*> pop_last(size_t count) {
    std::vector<const PickleValue*> items(count);
    for (size_t i = count; i > 0; --i) items[i - 1] = pop();
    return items;
  }
  PickleValue* container(Kind kind, const char* what) {
    PickleValue* value = top();
    if (value->kind != kind) refuse(std::string("adds items to what is no ") + what);
    return value;
  }

  // ---- instructions; each function returns false for those that are not its own
  bool push_scalar(Op op) {
    switch (op) {
      case kNone:
        return push({});
      case kNewTrue:
      case kNewFalse:
        return push({.kind = Kind::kFlag, .integer = op == kNewTrue});
      case kBinInt:
        return push({.kind = Kind::kInteger, .integer = number<int32_t>()});
      case kBinInt1:
        return push({.kind = Kind::kInteger, .integer = number<uint8_t>()});
      case kBinInt2:
        return push({.kind = Kind::kInteger, .integer = number<uint16_t>()});
      case kLong1:
        return push({.kind = Kind::kInteger, .integer = long_integer()});
      case kBinFloat:
        return push({.kind = Kind::kNumber, .number = big_endian_double()});
      case kShortBinString:
      case kShortBinUnicode:
        return push({.kind = Kind::kText, .text = text(number<uint8_t>())});
      case kBinString:
      case kBinUnicode:
        return push({.kind = Kind::kText, .text = text(number<uint32_t>())});
      default:
        return false;
    }
  }

  int64_t long_integer() {
    const auto length = number<uint8_t>();
    if (length > 8) refuse("a whole number of " + std::to_string(length) + " bytes");
    const auto bytes = take(length);
    uint64_t value = 0;
    for (size_t i = 0; i < length; ++i) value |= std::to_integer<uint64_t>(bytes[i]) << (8 * i);
    if (length > 0 && length < 8 && (std::to_integer<uint8_t>(bytes[length - 1u]) & 0x80))
      value |= ~uint64_t{0} << (8 * length);
    return static_cast<int64_t>(value);
  }

  double big_endian_double() {
    const auto bytes = take(8);
    uint64_t bits = 0;
    for (const std::byte b : bytes) bits = bits << 8 | std::to_integer<uint64_t>(b);
    return std::bit_cast<double>(bits);
  }

  bool push_container(Op op) {
    switch (op) {
      case kEmptyList:
        return push({.kind = Kind::kList});
      case kEmptyDict:
        return push({.kind = Kind::kDict});
      case kEmptyTuple:
        return push({.kind = Kind::kTuple});
      case kTuple:
        return push({.kind = Kind::kTuple, .items = pop_to_mark()});
      case kTuple1:
      case kTuple2:
      case kTuple3:
        return push({.kind = Kind::kTuple, .items = pop_last(op - kTuple1 + size_t{1})});
      default:
        return false;
    }
  }

  bool fill_container(Op op) {
    switch (op) {
      case kAppend:
        append(pop_last(1), Kind::kList);
        return true;
      case kAppends:
        append(pop_to_mark(), Kind::kList);
        return true;
      case kSetItem:
        append(pop_last(2), Kind::kDict);
        return true;
      case kSetItems:
        append(pop_to_mark(), Kind::kDict);
        return true;
      default:
        return false;
    }
  }

  void append(const std::vector<const PickleValue*>& items, Kind kind) {
    if (kind == Kind::kDict && items.size() % 2 != 0) refuse("a key without a value");
    PickleValue* into = container(kind, kind == Kind::kDict ? "dict" : "list");
    into->items.insert(into->items.end(), items.begin(), items.end());
  }

  bool remember(Op op) {
    switch (op) {
      case kBinPut:
        memo_[number<uint8_t>()] = top();
        return true;
      case kLongBinPut:
        memo_[number<uint32_t>()] = top();
        return true;
      case kMemoize:
        memo_[static_cast<uint32_t>(memo_.size())] = top();
        return true;
      case kBinGet:
        recall(number<uint8_t>());
        return true;
      case kLongBinGet:
        recall(number<uint32_t>());
        return true;
      default:
        return false;
    }
  }

  void recall(uint32_t key) {
    const auto found = memo_.find(key);
    if (found == memo_.end())
      refuse("recalls value " + std::to_string(key) + ", which is not there");
    stack_.push_back(found->second);
  }

  void act(Op op) {
    switch (op) {
      case kProto:
        if (const auto version = number<uint8_t>(); version < 2 || version > 5)
          refuse("is a pickle of protocol " + std::to_string(version) + ", expected 2 to 5");
        return;
      case kFrame:
        number<uint64_t>();
        return;
      case kMark:
        marks_.push_back(stack_.size());
        return;
      case kGlobal: {
        const std::string module = line();
        push_global(module + " " + line());
        return;
      }
      case kStackGlobal: {
        const auto names = pop_last(2);
        push_global(names[0]->text + " " + names[1]->text);
        return;
      }
      case kBinPersId:
        push({.kind = Kind::kPersistent, .items = pop_last(1)});
        return;
      case kReduce:
      case kNewObject:
        return call();
      case kBuild:
        return build();
      default:
        refuse("has the instruction " + std::to_string(op) +
               ", which torch.save does not use for tensors");
    }
  }

  void push_global(std::string name) {
    if (std::find(globals_.begin(), globals_.end(), name) == globals_.end()) {
      std::replace_if(name.begin(), name.end(), [](char c) { return c < 0x20 || c > 0x7e; }, '?');
      std::replace(name.begin(), name.end(), ' ', '.');
      refuse("names '" + name.substr(0, 200) + "', which is not allowed");
    }
    push({.kind = Kind::kGlobal, .text = std::move(name)});
  }

  void call() {
    const PickleValue* arguments = pop();
    const PickleValue* callee = pop();
    if (callee->kind != Kind::kGlobal || arguments->kind != Kind::kTuple)
      refuse("calls what is no name, or without a tuple of arguments");
    if (callee->text == kOrderedDict) {
      if (!arguments->items.empty()) refuse("an OrderedDict made from a list is not supported");
      push({.kind = Kind::kDict});
    } else {
      push({.kind = Kind::kCall, .text = callee->text, .items = {arguments}});
    }
  }

  // The state of an OrderedDict is its attributes, none of which is a weight.
  void build() {
    const PickleValue* state = pop();
    PickleValue* built = top();
    if (built->kind == Kind::kCall && built->items.size() == 1)
      built->items.push_back(state);
    else
      container(Kind::kDict, "dict");
  }

  std::span<const std::byte> bytes_;
  std::span<const std::string_view> globals_;
  const std::string& where_;
  std::deque<PickleValue>& values_;
  uint64_t position_ = 0, at_ = 0;  // the next byte; the instruction's own
  std::vector<PickleValue*> stack_;
  std::vector<size_t> marks_;
  std::unordered_map<uint32_t, PickleValue*> memo_;
};

Pickle::Pickle(std::span<const std::byte> bytes, std::span<const std::string_view> globals,
               const std::string& where)
    : root_(PickleMachine(bytes, globals, where, values_).run()) {}

}  // namespace hydrofoil::io
