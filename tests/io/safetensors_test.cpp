// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/io/safetensors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <stdexcept>

#include "tests/io/scratch.h"

namespace hydrofoil::io::safetensors_test {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::string with_length(const std::string& header, const std::string& data = "") {
  std::string length(8, '\0');
  const uint64_t n = header.size();
  for (size_t i = 0; i < 8; ++i) length[i] = static_cast<char>(n >> (8 * i));
  return length + header + data;
}

SafetensorsHeader parse(const std::string& file) {
  return parse_safetensors(std::as_bytes(std::span(file)), file.size(), "f");
}

// Written by the Python package safetensors 0.8.0: b = arange(6) f32 [2, 3], a = int8 [1, 2, 3],
// s = int64 scalar 7, e = f16 [0, 4], metadata {"format": "pt"}.
const std::string kReferenceHeader =
    R"({"__metadata__":{"format":"pt"},"s":{"dtype":"I64","shape":[],"data_offsets":[0,8]},)"
    R"("b":{"dtype":"F32","shape":[2,3],"data_offsets":[8,32]},)"
    R"("e":{"dtype":"F16","shape":[0,4],"data_offsets":[32,32]},)"
    R"("a":{"dtype":"I8","shape":[3],"data_offsets":[32,35]}}     )";

std::string reference_file() {
  const float b[6] = {0, 1, 2, 3, 4, 5};
  std::string data("\x07\0\0\0\0\0\0\0", 8);
  data.append(reinterpret_cast<const char*>(b), sizeof(b));
  return with_length(kReferenceHeader, data + "\x01\x02\x03");
}

TEST(SafetensorsFile, ReadsWhatTheReferenceImplementationWrote) {
  const Scratch scratch;
  put(scratch / "m.safetensors", reference_file());
  ASSERT_EQ(reference_file().size(), 299u);
  const SafetensorsFile file(scratch / "m.safetensors");

  EXPECT_EQ(file.header().metadata.at("format"), "pt");
  EXPECT_EQ(file.header().tensors.size(), 4u);
  const StoredTensor& b = file.at("b");
  EXPECT_EQ(b.dtype, DType::kF32);
  EXPECT_THAT(b.shape, ElementsAre(2, 3));
  float two[2];
  file.read(b, 12, std::as_writable_bytes(std::span(two)));
  EXPECT_THAT(two, ElementsAre(3, 4));
  int64_t s = 0;
  std::memcpy(&s, file.mapped(file.at("s")).data(), sizeof(s));
  EXPECT_EQ(s, 7);
  EXPECT_EQ(file.at("s").shape.size(), 0u);
  EXPECT_EQ(file.at("e").bytes, 0u);
  EXPECT_TRUE(file.mapped(file.at("e")).empty());
  EXPECT_EQ(file.find("c"), nullptr);
  EXPECT_THAT(error_line([&] { file.at("c"); }), HasSubstr("m.safetensors: has no tensor 'c'"));
  EXPECT_THROW(file.read(b, 20, std::as_writable_bytes(std::span(two))), std::logic_error);
}

struct Bad {
  const char* name;
  std::string file;
  const char* message;
};

std::string entry(const std::string& body) {
  return R"({"t":{)" + body + "}}";
}

const Bad kBad[] = {
    {"empty", "", "too few for a header"},
    {"seven bytes", "1234567", "too few for a header"},
    {"length zero", std::string(8, '\0'), "header of 0 bytes is too short"},
    {"length beyond the file", std::string("\x20\0\0\0\0\0\0\0{}", 10),
     "header of 32 bytes in a file of 10"},
    {"length above the cap", std::string("\xff\xff\xff\xff\xff\xff\xff\xff{}", 10),
     "header of 18446744073709551615 bytes; at most 100000000"},
    {"cap plus one", std::string("\x01\xe1\xf5\x05\0\0\0\0{}", 10), "header of 100000001 bytes"},
    {"leading space", with_length(" {}"), "does not start with '{'"},
    {"a list", with_length("[]"), "does not start with '{'"},
    {"not JSON", with_length("{\"t\":}"), "not JSON"},
    {"cut JSON", with_length("{\"t\""), "not JSON"},
    {"text after the end", with_length("{}x"), "not JSON"},
    {"not UTF-8", with_length("{\"\xff\":1}"), "not JSON"},
    {"nested too deep", with_length("{\"t\":" + std::string(100000, '[') + "1"), "nested deeper"},
    {"entry no object", with_length(R"({"t":1})"), "tensor 't': is not an object"},
    {"name twice",
     with_length(R"({"t":{"dtype":"I8","shape":[1],"data_offsets":[0,1]},)"
                 R"("t":{"dtype":"I8","shape":[1],"data_offsets":[1,2]}})",
                 "ab"),
     "has the key \"t\" twice"},
    {"field twice",
     with_length(entry(R"("dtype":"I8","dtype":"I8","shape":[1],"data_offsets":[0,1])"), "a"),
     "has the key \"dtype\" twice"},
    {"empty name", with_length(R"({"":{"dtype":"I8","shape":[1],"data_offsets":[0,1]}})", "a"),
     "is not usable"},
    {"control character in a name",
     with_length(R"({"\u001b[2J":{"dtype":"I8","shape":[1],"data_offsets":[0,1]}})", "a"),
     "is not usable"},
    {"no dtype", with_length(entry(R"("shape":[1],"data_offsets":[0,1])"), "a"),
     "tensor 't': lacks dtype"},
    {"no shape", with_length(entry(R"("dtype":"I8","data_offsets":[0,1])"), "a"), "lacks shape"},
    {"no offsets", with_length(entry(R"("dtype":"I8","shape":[1])"), "a"), "lacks data_offsets"},
    {"unknown field",
     with_length(entry(R"("dtype":"I8","shape":[1],"data_offsets":[0,1],"code":"x")"), "a"),
     "unknown field \"code\""},
    {"unknown dtype", with_length(entry(R"("dtype":"Q3","shape":[1],"data_offsets":[0,1])"), "a"),
     "dtype is \"Q3\", which is not supported"},
    {"dtype number", with_length(entry(R"("dtype":3,"shape":[1],"data_offsets":[0,1])"), "a"),
     "dtype is not a text"},
    {"negative dim", with_length(entry(R"("dtype":"I8","shape":[-1],"data_offsets":[0,1])"), "a"),
     "shape holds -1, not a size"},
    {"fractional dim",
     with_length(entry(R"("dtype":"I8","shape":[1.5],"data_offsets":[0,1])"), "a"),
     "shape holds 1.5"},
    {"dim of 65 bits",
     with_length(entry(R"("dtype":"I8","shape":[36893488147419103232],"data_offsets":[0,0])")),
     "not a size"},
    {"product overflows",
     with_length(entry(R"("dtype":"I8","shape":[4294967296,4294967296],"data_offsets":[0,0])")),
     "is too large"},
    {"product overflows before a zero",
     with_length(entry(R"("dtype":"I8","shape":[4294967296,4294967296,0],"data_offsets":[0,0])")),
     "is too large"},
    {"bytes overflow",
     with_length(entry(R"("dtype":"F64","shape":[2305843009213693952],"data_offsets":[0,0])")),
     "is too large"},
    {"three offsets", with_length(entry(R"("dtype":"I8","shape":[1],"data_offsets":[0,1,2])"), "a"),
     "data_offsets is not a begin and an end"},
    {"end before begin",
     with_length(entry(R"("dtype":"I8","shape":[1],"data_offsets":[1,0])"), "a"),
     "data_offsets is not a begin and an end"},
    {"span is not the shape's",
     with_length(entry(R"("dtype":"F32","shape":[2,3],"data_offsets":[0,23])"), std::string(23, 0)),
     "data_offsets span 23 bytes, but F32 [2, 3] has 24"},
    {"gap at the beginning",
     with_length(entry(R"("dtype":"I8","shape":[1],"data_offsets":[1,2])"), "ab"), "a gap"},
    {"overlap",
     with_length(R"({"t":{"dtype":"I8","shape":[2],"data_offsets":[0,2]},)"
                 R"("u":{"dtype":"I8","shape":[2],"data_offsets":[1,3]}})",
                 "abc"),
     "tensor 'u' begins at byte 1 of the data, expected 2: tensors overlap"},
    {"data cut off", with_length(entry(R"("dtype":"I8","shape":[9],"data_offsets":[0,9])"), "a"),
     "tensors have 9 bytes, but 1 follow the header"},
    {"data left over", with_length(entry(R"("dtype":"I8","shape":[1],"data_offsets":[0,1])"), "ab"),
     "tensors have 1 bytes, but 2 follow the header"},
    {"metadata is a list", with_length(R"({"__metadata__":[]})"), "__metadata__ is not an object"},
    {"metadata holds a number", with_length(R"({"__metadata__":{"a":1}})"),
     "__metadata__ \"a\" is not a text"},
};

TEST(Safetensors, RefusesEveryBreachOfTheContract) {
  for (const Bad& bad : kBad) {
    const std::string line = error_line([&] { parse(bad.file); });
    EXPECT_THAT(line, AllOf(::testing::StartsWith("f"), HasSubstr(bad.message))) << bad.name;
  }
}

TEST(Safetensors, AcceptsPaddingZeroSizesAndNothingAtAll) {
  EXPECT_TRUE(parse(with_length("{}")).tensors.empty());
  EXPECT_TRUE(parse(with_length("{}      ")).tensors.empty());
  const auto header =
      parse(with_length(R"({"z":{"dtype":"F32","shape":[3,0],"data_offsets":[1,1]},)"
                        R"("t":{"dtype":"I8","shape":[1],"data_offsets":[0,1]},)"
                        R"("a":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}})",
                        "x"));
  EXPECT_EQ(header.tensors.size(), 3u);
}

TEST(SafetensorsFile, RefusesAFolderAndAMissingFile) {
  const Scratch scratch;
  EXPECT_NE(error_line([&] { SafetensorsFile file(scratch.path()); }), "");
  EXPECT_NE(error_line([&] { SafetensorsFile file(scratch / "none"); }), "");
}

std::vector<TensorSpec> odd_tensors() {
  return {{"i", DType::kI8, {3}},    {"w", DType::kF32, {17, 97}}, {"h", DType::kBF16, {5}},
          {"d", DType::kF64, {}},    {"e", DType::kF32, {0, 4}},   {"quote\"\\", DType::kF32, {1}},
          {"l", DType::kI64, {1, 1}}};
}

TEST(PlanSafetensors, ParsesBackToTheSameTensorsAtThePlannedOffsets) {
  const auto tensors = odd_tensors();
  const SafetensorsPlan plan = plan_safetensors(tensors, {{"format", "pt"}, {"b", "\n"}});
  const SafetensorsHeader header =
      parse_safetensors(std::as_bytes(std::span(plan.header)), plan.file_bytes, "f");

  EXPECT_EQ(header.metadata.at("b"), "\n");
  ASSERT_EQ(header.tensors.size(), tensors.size());
  for (size_t i = 0; i < tensors.size(); ++i)
    for (const StoredTensor& stored : header.tensors)
      if (stored.name == tensors[i].name) {
        EXPECT_EQ(stored.dtype, tensors[i].dtype);
        EXPECT_EQ(stored.shape, tensors[i].shape);
        EXPECT_EQ(stored.offset, plan.offsets[i]);
        EXPECT_EQ(stored.offset % size_of(stored.dtype), 0u) << stored.name;
      }
  EXPECT_EQ(header.data_offset % 64, 0u);
  EXPECT_EQ(plan.header.size(), header.data_offset);
}

TEST(PlanSafetensors, RefusesNamesTwiceAndImpossibleShapes) {
  EXPECT_THROW(plan_safetensors({{"a", DType::kI8, {1}}, {"a", DType::kI8, {1}}}),
               std::logic_error);
  EXPECT_THROW(plan_safetensors({{"a", DType::kI8, {-1}}}), std::logic_error);
  EXPECT_THROW(plan_safetensors({{"", DType::kI8, {1}}}), std::logic_error);
  EXPECT_THROW(plan_safetensors({{"__metadata__", DType::kI8, {1}}}), std::logic_error);
  EXPECT_THROW(plan_safetensors({{"a", DType::kF64, {int64_t{1} << 61}}}), std::logic_error);
}

}  // namespace
}  // namespace hydrofoil::io::safetensors_test
