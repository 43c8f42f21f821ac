// SPDX-License-Identifier: Apache-2.0
// Metadata values of a GGUF file.
#include <bit>
#include <cstring>
#include <limits>
#include <stdexcept>

#include "hydrofoil/io/gguf.h"
#include "hydrofoil/io/gguf_kind.h"

namespace hydrofoil::io {
namespace {

// Calls act with a value of the C++ type of a fixed-width kind.
template <class Act>
auto with_type(GgufKind kind, const Act& act) {
  switch (kind) {
    case GgufKind::kU8:
      return act(uint8_t{});
    case GgufKind::kI8:
      return act(int8_t{});
    case GgufKind::kU16:
      return act(uint16_t{});
    case GgufKind::kI16:
      return act(int16_t{});
    case GgufKind::kU32:
      return act(uint32_t{});
    case GgufKind::kI32:
      return act(int32_t{});
    case GgufKind::kU64:
      return act(uint64_t{});
    case GgufKind::kI64:
      return act(int64_t{});
    case GgufKind::kF32:
      return act(float{});
    case GgufKind::kF64:
      return act(double{});
    case GgufKind::kBool:
      return act(bool{});
    case GgufKind::kString:
    case GgufKind::kArray:
      break;
  }
  throw std::logic_error("gguf: a kind without fixed width");
}

template <class T>
GgufValue scalar(GgufKind kind, T value) {
  if constexpr (std::is_same_v<T, bool>)
    return {kind, value};
  else if constexpr (std::is_floating_point_v<T>)
    return {kind, static_cast<double>(value)};
  else if constexpr (std::is_signed_v<T>)
    return {kind, int64_t{value}};
  else
    return {kind, uint64_t{value}};
}

template <class T>
T load(const std::byte* bytes) {
  if constexpr (std::is_same_v<T, bool>) {
    return std::to_integer<uint8_t>(*bytes) != 0;
  } else {
    T value;
    std::memcpy(&value, bytes, sizeof(T));
    return value;
  }
}

}  // namespace

bool is_gguf_alignment(uint64_t value) {
  return value >= 8 && std::has_single_bit(value);
}

uint32_t width_of(GgufKind kind) {
  if (kind == GgufKind::kString || kind == GgufKind::kArray) return 0;
  return with_type(kind, [](auto type) { return static_cast<uint32_t>(sizeof(type)); });
}

GgufValue scalar_from_bytes(GgufKind kind, const std::byte* bytes) {
  return with_type(kind, [&](auto type) { return scalar(kind, load<decltype(type)>(bytes)); });
}

void append_scalar(std::string& out, const GgufValue& value) {
  const auto put = [&](auto type) {
    using T = decltype(type);
    if (scalar(value.kind, type).value.index() != value.value.index())
      throw std::logic_error("gguf: a value that is not of its kind");
    const T converted = std::visit(
        [](const auto& held) -> T {
          if constexpr (std::is_arithmetic_v<std::decay_t<decltype(held)>>)
            return static_cast<T>(held);
          else
            return {};
        },
        value.value);
    if (converted == converted && scalar(value.kind, converted).value != value.value)
      throw std::logic_error("gguf: a value that does not fit its kind");
    const size_t end = out.size();
    out.resize(end + sizeof(T));
    std::memcpy(out.data() + end, &converted, sizeof(T));
  };
  with_type(value.kind, put);
}

std::optional<int64_t> as_integer(const GgufValue* value) {
  if (!value) return std::nullopt;
  if (const auto* held = std::get_if<int64_t>(&value->value)) return *held;
  if (const auto* held = std::get_if<uint64_t>(&value->value);
      held && *held <= uint64_t{std::numeric_limits<int64_t>::max()})
    return static_cast<int64_t>(*held);
  return std::nullopt;
}

std::optional<double> as_number(const GgufValue* value) {
  if (!value) return std::nullopt;
  if (const auto* held = std::get_if<double>(&value->value)) return *held;
  const auto integer = as_integer(value);
  return integer ? std::optional(static_cast<double>(*integer)) : std::nullopt;
}

std::optional<bool> as_flag(const GgufValue* value) {
  const auto* held = value ? std::get_if<bool>(&value->value) : nullptr;
  return held ? std::optional(*held) : std::nullopt;
}

const std::string* as_text(const GgufValue* value) {
  return value ? std::get_if<std::string>(&value->value) : nullptr;
}

const std::vector<std::string>* as_texts(const GgufValue* value) {
  const auto* array = value ? std::get_if<GgufArray>(&value->value) : nullptr;
  return array ? std::get_if<std::vector<std::string>>(&array->items) : nullptr;
}

namespace {

// Each item of a list of fixed-width items by `as`; nothing where one is something else.
template <class T>
std::optional<std::vector<T>> as_list(const GgufValue* value,
                                      std::optional<T> (*as)(const GgufValue*)) {
  const auto* array = value ? std::get_if<GgufArray>(&value->value) : nullptr;
  const auto* bytes = array ? std::get_if<std::vector<std::byte>>(&array->items) : nullptr;
  if (!bytes) return std::nullopt;
  std::vector<T> items;
  const uint32_t width = width_of(array->item);
  for (size_t at = 0; at + width <= bytes->size(); at += width) {
    const GgufValue item = scalar_from_bytes(array->item, bytes->data() + at);
    const auto number = as(&item);
    if (!number) return std::nullopt;
    items.push_back(*number);
  }
  return items;
}

GgufValue list_of(GgufKind item, std::span<const std::byte> bytes) {
  return {GgufKind::kArray, GgufArray{item, std::vector<std::byte>(bytes.begin(), bytes.end())}};
}

}  // namespace

std::optional<std::vector<int64_t>> as_integers(const GgufValue* value) {
  return as_list<int64_t>(value, as_integer);
}

std::optional<std::vector<double>> as_numbers(const GgufValue* value) {
  return as_list<double>(value, as_number);
}

std::optional<std::string> as_bytes(const GgufValue* value) {
  const auto* array = value ? std::get_if<GgufArray>(&value->value) : nullptr;
  if (!array || array->item != GgufKind::kU8) return std::nullopt;
  const auto& bytes = std::get<std::vector<std::byte>>(array->items);
  return std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size());
}

GgufValue gguf_u32(uint32_t value) {
  return scalar(GgufKind::kU32, value);
}

GgufValue gguf_f32(float value) {
  return scalar(GgufKind::kF32, value);
}

GgufValue gguf_flag(bool value) {
  return scalar(GgufKind::kBool, value);
}

GgufValue gguf_text(std::string value) {
  return {GgufKind::kString, std::move(value)};
}

GgufValue gguf_texts(std::vector<std::string> values) {
  return {GgufKind::kArray, GgufArray{GgufKind::kString, std::move(values)}};
}

GgufValue gguf_i32s(std::span<const int32_t> values) {
  return list_of(GgufKind::kI32, std::as_bytes(values));
}

GgufValue gguf_f32s(std::span<const float> values) {
  return list_of(GgufKind::kF32, std::as_bytes(values));
}

GgufValue gguf_bytes(std::string_view bytes) {
  return list_of(GgufKind::kU8, std::as_bytes(std::span(bytes)));
}

}  // namespace hydrofoil::io
