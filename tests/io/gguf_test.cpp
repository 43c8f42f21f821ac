// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/io/gguf.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <stdexcept>

#include "hydrofoil/io/gguf_writer.h"
#include "tests/io/scratch.h"

namespace hydrofoil::io::gguf_test {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

const char* const kGolden = GOLDEN_FOLDER "/kinds.gguf";  // written by the Python package gguf

GgufHeader parse(const std::string& file) {
  return parse_gguf(std::as_bytes(std::span(file)), "f");
}

std::string line_of(const std::string& file) {
  return error_line([&] { parse(file); });
}

TEST(GgufFile, ReadsEveryKindThatTheReferenceImplementationWrote) {
  const GgufFile file(kGolden);
  const GgufHeader& header = file.header();
  EXPECT_EQ(header.version, 3u);
  EXPECT_EQ(header.alignment, 64u);
  EXPECT_EQ(header.metadata.size(), 22u);
  EXPECT_EQ(as_integer(header.find("k.u8")), 200);
  EXPECT_EQ(as_integer(header.find("k.i8")), -100);
  EXPECT_EQ(as_integer(header.find("k.u16")), 60000);
  EXPECT_EQ(as_integer(header.find("k.i16")), -30000);
  EXPECT_EQ(as_integer(header.find("k.u32")), 4000000000);
  EXPECT_EQ(as_integer(header.find("k.i32")), -2000000000);
  EXPECT_EQ(as_integer(header.find("k.u64")), std::nullopt);  // above 2^63 - 1
  EXPECT_EQ(std::get<uint64_t>(header.find("k.u64")->value), ~uint64_t{0});
  EXPECT_EQ(as_integer(header.find("k.i64")), std::numeric_limits<int64_t>::min());
  EXPECT_EQ(as_number(header.find("k.f32")), static_cast<double>(0.1f));
  EXPECT_EQ(as_number(header.find("k.f64")), 0.1);
  EXPECT_EQ(as_number(header.find("k.i8")), -100.0);
  EXPECT_EQ(as_flag(header.find("k.yes")), true);
  EXPECT_EQ(as_flag(header.find("k.no")), false);
  EXPECT_EQ(*as_text(header.find("k.text")), "zwölf Boxkämpfer");
  EXPECT_THAT(*as_texts(header.find("k.texts")), ElementsAre("", "a", "Ġthe"));
  EXPECT_THAT(*as_integers(header.find("k.i32s")), ElementsAre(3, -1, 2147483647));
  EXPECT_THAT(*as_integers(header.find("k.bytes")), ElementsAre(0, 127, 255));
}

TEST(GgufFile, ReadsNestedListsAndTellsKindsApart) {
  const GgufFile file(kGolden);
  const GgufHeader& header = file.header();
  const auto& outer = std::get<GgufArray>(header.find("k.nested")->value);
  const auto& middle = std::get<std::vector<GgufArray>>(outer.items);
  ASSERT_EQ(middle.size(), 2u);
  const auto& inner = std::get<std::vector<GgufArray>>(middle[0].items);
  ASSERT_EQ(inner.size(), 2u);
  const GgufValue first{GgufKind::kArray, inner[0]};
  EXPECT_THAT(*as_integers(&first), ElementsAre(1, 2));

  EXPECT_EQ(as_integer(header.find("k.text")), std::nullopt);
  EXPECT_EQ(as_integer(header.find("k.f32")), std::nullopt);
  EXPECT_EQ(as_integers(header.find("k.f32s")), std::nullopt);
  EXPECT_EQ(as_integers(header.find("k.texts")), std::nullopt);
  EXPECT_EQ(as_texts(header.find("k.i32s")), nullptr);
  EXPECT_EQ(as_text(header.find("absent")), nullptr);
  EXPECT_EQ(as_flag(header.find("k.u8")), std::nullopt);
}

TEST(GgufFile, HandsOutTensorsOutermostDimFirst) {
  const GgufFile file(kGolden);
  const GgufTensor& f32 = file.at("f32");
  EXPECT_THAT(f32.shape, ElementsAre(2, 3));
  EXPECT_EQ(f32.offset % 64, 0u);
  float two[2];
  file.read(f32, 12, std::as_writable_bytes(std::span(two)));
  EXPECT_THAT(two, ElementsAre(3, 4));
  const GgufTensor& q8 = file.at("q8_0");
  EXPECT_EQ(q8.type, GgmlType::kQ8_0);
  EXPECT_THAT(q8.shape, ElementsAre(2, 64));
  ASSERT_EQ(q8.bytes, 136u);
  EXPECT_EQ(file.mapped(q8)[135], std::byte{135});
  EXPECT_THAT(file.at("i64").shape, ElementsAre(1, 1, 1, 1));
  EXPECT_EQ(file.find("c"), nullptr);
  EXPECT_THAT(error_line([&] { file.at("c"); }), HasSubstr("kinds.gguf: has no tensor 'c'"));
  EXPECT_THROW(file.read(f32, 20, std::as_writable_bytes(std::span(two))), std::logic_error);
}

TEST(GgufFile, ReadsVersion2) {
  std::string file = get(kGolden);
  file[4] = 2;
  EXPECT_EQ(parse(file).version, 2u);
  EXPECT_EQ(parse(file).metadata.size(), 22u);
}

// The package's own bytes come out again.
TEST(GgufWriter, WritesWhatTheReferenceImplementationWrites) {
  const Scratch scratch;
  const GgufFile golden(kGolden);
  std::vector<GgufTensorSpec> specs;
  for (const GgufTensor& t : golden.header().tensors) specs.push_back({t.name, t.type, t.shape});
  GgufWriter writer(scratch / "m.gguf", golden.header().metadata, specs);
  for (const GgufTensor& t : golden.header().tensors) {
    const auto bytes = golden.mapped(t);
    writer.write(t.name, bytes.first(bytes.size() / 2));
    writer.write(t.name, bytes.subspan(bytes.size() / 2));
  }
  EXPECT_FALSE(std::filesystem::exists(scratch / "m.gguf"));
  writer.finish();
  EXPECT_EQ(get(scratch / "m.gguf"), get(kGolden));
}

TEST(GgufWriter, ReadsBackValuesMadeHere) {
  const std::vector<GgufEntry> metadata = {{"u", gguf_u32(7)},
                                           {"f", gguf_f32(0.25f)},
                                           {"b", gguf_flag(true)},
                                           {"t", gguf_text("x")},
                                           {"ts", gguf_texts({"a", ""})},
                                           {"is", gguf_i32s(std::vector<int32_t>{1, -2})},
                                           {"fs", gguf_f32s(std::vector<float>{0.5F, -3})},
                                           {"bs", gguf_bytes("a\xFF")},
                                           {"none", gguf_texts({})}};
  const GgufPlan plan = plan_gguf(metadata, {{"e", GgmlType::kF32, {0, 4}},
                                             {"s", GgmlType::kF32, {}},
                                             {"w", GgmlType::kQ4_K, {17, 512}}});
  std::string file = plan.header;
  file.resize(plan.file_bytes);
  const GgufHeader header = parse(file);
  EXPECT_EQ(header.metadata, metadata);
  EXPECT_THAT(*as_numbers(header.find("fs")), ElementsAre(0.5, -3));
  EXPECT_EQ(as_numbers(header.find("ts")), std::nullopt);
  EXPECT_EQ(as_bytes(header.find("bs")), "a\xFF");
  EXPECT_EQ(as_bytes(header.find("is")), std::nullopt);
  ASSERT_EQ(header.tensors.size(), 3u);
  for (size_t i = 0; i < 3; ++i) EXPECT_EQ(header.tensors[i].offset, plan.offsets[i]);
  EXPECT_EQ(header.tensors[0].bytes, 0u);
  EXPECT_EQ(header.tensors[1].bytes, 4u);
  EXPECT_EQ(header.tensors[2].bytes, 17u * 2 * 144);
  EXPECT_EQ(plan.file_bytes % 32, 0u);
}

TEST(GgufWriter, LeavesNothingBehindUnlessFinished) {
  const Scratch scratch;
  put(scratch / "m.gguf", "old");
  {
    GgufWriter writer(scratch / "m.gguf", {}, {{"a", GgmlType::kI8, {2}}});
    writer.write("a", std::as_bytes(std::span("x", 1)));
    EXPECT_THROW(writer.finish(), std::logic_error);
  }
  EXPECT_EQ(get(scratch / "m.gguf"), "old");
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(scratch.path()), {}), 1);
}

TEST(GgufWriter, RefusesTensorsOutOfTurnAndImpossiblePlans) {
  const Scratch scratch;
  GgufWriter writer(scratch / "m.gguf", {}, {{"a", GgmlType::kI8, {2}}, {"b", GgmlType::kI8, {1}}});
  const auto bytes = std::as_bytes(std::span("xyz", 3));
  EXPECT_THROW(writer.write("b", bytes.first(1)), std::logic_error);
  EXPECT_THROW(writer.write("a", bytes), std::logic_error);
  writer.write("a", bytes.first(2));
  EXPECT_THROW(writer.write("c", bytes.first(1)), std::logic_error);
  writer.write("b", bytes.first(1));
  EXPECT_THROW(writer.write("a", bytes.first(1)), std::logic_error);
  writer.finish();

  const auto value = gguf_u32(1);
  EXPECT_THROW(plan_gguf({{"k", value}, {"k", value}}, {}), std::logic_error);
  EXPECT_THROW(plan_gguf({{"", value}}, {}), std::logic_error);
  EXPECT_THROW(plan_gguf({{"k", {GgufKind::kU8, uint64_t{300}}}}, {}), std::logic_error);
  EXPECT_THROW(plan_gguf({{"k", {GgufKind::kU8, int64_t{3}}}}, {}), std::logic_error);
  EXPECT_THROW(plan_gguf({{"general.alignment", gguf_u32(48)}}, {}), std::logic_error);
  EXPECT_THROW(plan_gguf({}, {{"w", GgmlType::kQ4_0, {2, 33}}}), std::logic_error);
  EXPECT_THROW(plan_gguf({}, {{"w", GgmlType::kI8, {-1}}}), std::logic_error);
  EXPECT_THROW(plan_gguf({}, {{"w", GgmlType::kI8, {1}}, {"w", GgmlType::kI8, {1}}}),
               std::logic_error);
}

// ---- files that are wrong -----------------------------------------------------------------------

template <class T>
std::string raw(T value) {
  std::string out(sizeof(T), '\0');
  std::memcpy(out.data(), &value, sizeof(T));
  return out;
}
std::string text(const std::string& value) {
  return raw(uint64_t{value.size()}) + value;
}
std::string head(uint64_t tensors, uint64_t entries, uint32_t version = 3) {
  return "GGUF" + raw(version) + raw(tensors) + raw(entries);
}
std::string entry(const std::string& key, GgufKind kind, const std::string& value) {
  return text(key) + raw(kind) + value;
}
std::string list(GgufKind item, uint64_t count, const std::string& items) {
  return raw(item) + raw(count) + items;
}
std::string tensor(const std::string& name, std::vector<uint64_t> dims, uint32_t type,
                   uint64_t offset) {
  std::string out = text(name) + raw(static_cast<uint32_t>(dims.size()));
  for (const uint64_t dim : dims) out += raw(dim);
  return out + raw(type) + raw(offset);
}
std::string padded(std::string header, size_t data_bytes) {
  header.resize((header.size() + 31) / 32 * 32 + data_bytes);
  return header;
}

struct Bad {
  const char* name;
  std::string file;
  const char* message;
};

constexpr uint64_t kHuge = ~uint64_t{0};
constexpr uint32_t kF32 = 0, kQ4_0 = 2;

std::string deep(int levels) {
  std::string value = list(GgufKind::kU8, 0, "");
  for (int i = 1; i < levels; ++i) value = list(GgufKind::kArray, 1, value);
  return value;
}

const Bad kBad[] = {
    {"empty", "", "byte 0: the magic number: expected 4 bytes, the file has 0 more"},
    {"other magic", "GGML" + raw(3u), "byte 0: does not begin with 'GGUF'"},
    {"no version", "GGUF", "byte 4: the version: expected 4 bytes"},
    {"version 1", head(0, 0, 1), "byte 4: has version 1, expected 2 or 3"},
    {"version 4", head(0, 0, 4), "has version 4, expected 2 or 3"},
    {"big endian", head(0, 0, 3u << 24), "is a big-endian file"},
    {"no counts", "GGUF" + raw(3u) + raw(uint64_t{0}), "byte 16: the number of metadata entries"},
    {"absurd tensor count", head(kHuge, 0),
     "byte 8: 18446744073709551615 tensors need at least 25 bytes each, 8 are left of the file"},
    {"absurd entry count", head(0, uint64_t{1} << 60),
     "byte 16: 1152921504606846976 metadata entries need at least 14 bytes each"},
    {"key cut off", head(0, 1) + raw(uint64_t{100}) + "abcdef", "a metadata key of 100 bytes, 6"},
    {"absurd key length", head(0, 1) + raw(kHuge) + "abcdef",
     "byte 24: a metadata key of 18446744073709551615 bytes"},
    {"empty key", head(0, 1) + entry("", GgufKind::kU32, raw(1u)), "key is empty"},
    {"control character in a key", head(0, 1) + entry("\x1b[2J", GgufKind::kU32, raw(1u)),
     "not printable ASCII"},
    {"key twice",
     head(0, 2) + entry("a", GgufKind::kU32, raw(1u)) + entry("a", GgufKind::kU32, raw(1u)),
     "byte 41: has the key 'a' twice"},
    {"unknown kind", head(0, 1) + entry("a", static_cast<GgufKind>(13), raw(1u)),
     "byte 33: 'a' has the unknown type 13, expected 0 to 12"},
    {"value cut off", head(0, 1) + entry("a", GgufKind::kU64, raw(1u)),
     "byte 37: 'a': expected 8 bytes, the file has 4 more"},
    {"neither true nor false", head(0, 1) + entry("a", GgufKind::kBool, "\2"),
     "'a' is neither true nor false"},
    {"absurd string", head(0, 1) + entry("a", GgufKind::kString, raw(kHuge)), "'a' of 1844674"},
    {"absurd list",
     head(0, 1) + entry("a", GgufKind::kArray, list(GgufKind::kU64, uint64_t{1} << 61, "abcdefgh")),
     "2305843009213693952 items of 'a' need at least 8 bytes each, 8 are left"},
    {"absurd list of texts",
     head(0, 1) + entry("a", GgufKind::kArray, list(GgufKind::kString, kHuge, "abcdefgh")),
     "18446744073709551615 items of 'a'"},
    {"list of unknown kind",
     head(0, 1) + entry("a", GgufKind::kArray, list(static_cast<GgufKind>(99), 0, "")),
     "the items of 'a' has the unknown type 99"},
    {"list with a bad flag",
     head(0, 1) + entry("a", GgufKind::kArray, list(GgufKind::kBool, 2, "\1\3")),
     "neither true nor false"},
    {"nested too deep", head(0, 1) + entry("a", GgufKind::kArray, deep(5)),
     "'a' nests deeper than 4"},
    {"alignment zero", head(0, 1) + entry("general.alignment", GgufKind::kU32, raw(0u)),
     "general.alignment must be a power of two"},
    {"alignment of another kind",
     head(0, 1) + entry("general.alignment", GgufKind::kString, text("32")),
     "general.alignment must be a power of two"},
    {"tensor name twice",
     padded(head(2, 0) + tensor("t", {1}, kF32, 0) + tensor("t", {1}, kF32, 32), 64),
     "has the tensor 't' twice"},
    {"tensor without a name", padded(head(1, 0) + tensor("", {1}, kF32, 0), 32), "name is empty"},
    {"five dims", padded(head(1, 0) + tensor("t", {1, 1, 1, 1, 1}, kF32, 0), 32),
     "tensor 't' has 5 dims, expected at most 4"},
    {"negative dim", padded(head(1, 0) + tensor("t", {kHuge}, kF32, 0), 32),
     "tensor 't' has a dim of 18446744073709551615"},
    {"product overflows",
     padded(head(1, 0) + tensor("t", {uint64_t{1} << 32, uint64_t{1} << 32}, kF32, 0), 32),
     "shape [4294967296, 4294967296] is too large"},
    {"bytes overflow", padded(head(1, 0) + tensor("t", {uint64_t{1} << 62}, kF32, 0), 32),
     "is too large"},
    {"unknown type", padded(head(1, 0) + tensor("t", {1}, 4, 0), 32),
     "tensor 't' has the type 4, which is not supported; known are F32, F16"},
    {"part of a block", padded(head(1, 0) + tensor("t", {33}, kQ4_0, 0), 64),
     "shape [33] is too large or no whole number of blocks of Q4_0"},
    {"offset not aligned", padded(head(1, 0) + tensor("t", {1}, kF32, 4), 64),
     "tensor 't' begins at byte 4 of the data, which is no multiple of 32"},
    {"tensor past the end", padded(head(1, 0) + tensor("t", {9}, kF32, 0), 35),
     "tensor 't': 36 bytes at byte 0 of the data, which begins at 64; the file ends at 99"},
    {"offset past the end",
     padded(head(1, 0) + tensor("t", {1}, kF32, uint64_t{0xffffffffffffffe0}), 32),
     "the file ends at"},
    {"no data at all", head(1, 0) + tensor("t", {1}, kF32, 0), "the file ends at"},
    {"tensors overlap",
     padded(head(2, 0) + tensor("t", {16}, kF32, 0) + tensor("u", {1}, kF32, 32), 64),
     "tensors 't' and 'u' overlap"},
};

TEST(Gguf, RefusesEveryBreachOfTheContract) {
  for (const Bad& bad : kBad)
    EXPECT_THAT(line_of(bad.file), AllOf(::testing::StartsWith("f, byte "), HasSubstr(bad.message)))
        << bad.name;
}

// Whatever is cut off, the header's end or the data's, is missed.
TEST(Gguf, RefusesEveryTruncation) {
  const std::string file = get(kGolden);
  const uint64_t end = parse(file).tensors.back().offset + parse(file).tensors.back().bytes;
  for (size_t size = 0; size < end; ++size) EXPECT_NE(line_of(file.substr(0, size)), "") << size;
}

TEST(Gguf, AcceptsNothingAtAllAndGaps) {
  EXPECT_TRUE(parse(head(0, 0)).tensors.empty());
  EXPECT_EQ(parse(padded(head(1, 0) + tensor("t", {1}, kF32, 64), 128)).tensors[0].offset, 128u);
  EXPECT_TRUE(parse(head(0, 1) + entry("a", GgufKind::kArray, deep(4))).find("a"));
}

TEST(Gguf, ReadsNoMoreHeaderThanAllowed) {
  std::string file =
      head(0, 1) + text("a") + raw(GgufKind::kString) + raw(uint64_t{kMaxGgufHeaderBytes});
  file.resize(file.size() + kMaxGgufHeaderBytes);
  EXPECT_THAT(line_of(file), HasSubstr("'a' of 134217728 bytes"));
}

}  // namespace
}  // namespace hydrofoil::io::gguf_test
