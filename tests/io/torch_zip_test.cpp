// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/io/torch_zip.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <stdexcept>

#include "hydrofoil/io/pickle.h"
#include "hydrofoil/io/safetensors.h"
#include "hydrofoil/io/zip.h"
#include "tests/io/scratch.h"

namespace hydrofoil::io::torch_zip_test {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StartsWith;

std::span<const std::byte> bytes_of(const std::string& text) {
  return std::as_bytes(std::span(text));
}

TEST(TorchZipFile, ReadsEveryTensorThatPyTorchSaved) {
  const TorchZipFile file(GOLDEN_FOLDER "/torch.bin");
  const SafetensorsFile want(GOLDEN_FOLDER "/torch.safetensors");
  EXPECT_EQ(file.tensors().size(), want.header().tensors.size());
  for (const StoredTensor& expected : want.header().tensors) {
    const TorchTensor& tensor = file.at(expected.name);
    EXPECT_EQ(tensor.dtype, expected.dtype) << expected.name;
    EXPECT_EQ(tensor.shape, expected.shape) << expected.name;
    ASSERT_EQ(tensor.bytes, expected.bytes) << expected.name;
    std::vector<std::byte> bytes(tensor.bytes);
    file.read(tensor, 0, bytes);
    const auto wanted = want.mapped(expected);
    EXPECT_TRUE(std::equal(bytes.begin(), bytes.end(), wanted.begin())) << expected.name;
    for (size_t begin = 0; begin <= bytes.size(); ++begin) {  // also across runs
      std::vector<std::byte> part((bytes.size() - begin) / 2);
      file.read(tensor, begin, part);
      EXPECT_TRUE(std::equal(part.begin(), part.end(), wanted.subspan(begin).begin()))
          << expected.name << " from byte " << begin;
    }
  }
}

TEST(TorchZipFile, KeepsStridesAndJoinsTheNamesOfNestedDicts) {
  const TorchZipFile file(GOLDEN_FOLDER "/torch.bin");
  EXPECT_THAT(file.at("transposed").strides, ElementsAre(1, 3, 15));
  EXPECT_EQ(file.at("tied").offset, file.at("base").offset);
  EXPECT_EQ(file.at("row").offset, file.at("base").offset + 4 * (3 * 15 + 3));
  EXPECT_THAT(file.at("model.0.weight").shape, ElementsAre(2, 3));
  EXPECT_EQ(file.tensors().front().name, "types.F32");  // the order of the dict
  EXPECT_EQ(file.find("epoch"), nullptr);
  EXPECT_THAT(error_line([&] { file.at("epoch"); }), HasSubstr("torch.bin: has no tensor 'epoch'"));
  std::vector<std::byte> row(file.at("row").bytes);
  EXPECT_THROW(file.read(file.at("row"), 1, row), std::logic_error);
}

TEST(TorchZipFile, ReadsALaterPickleProtocol) {
  const TorchZipFile file(GOLDEN_FOLDER "/torch_protocol4.bin");
  std::vector<float> values(6);
  file.read(file.at("w"), 0, std::as_writable_bytes(std::span(values)));
  EXPECT_THAT(values, ElementsAre(0, 1, 2, 3, 4, 5));
}

TEST(TorchZip, RefusesEveryTruncation) {
  const std::string file = get(GOLDEN_FOLDER "/torch_protocol4.bin");
  for (size_t size = 0; size < file.size(); ++size) {
    const std::string cut = file.substr(0, size);
    EXPECT_NE(error_line([&] { parse_torch_zip(bytes_of(cut), "f"); }), "") << size;
  }
}

// ---- archives made by hand ----------------------------------------------------------------------

template <class T>
std::string raw(T value) {
  std::string out(sizeof(T), '\0');
  std::memcpy(out.data(), &value, sizeof(T));
  return out;
}

struct Stored {
  std::string name, data;
  uint16_t method = 0, flags = 0;
};

// A stored archive; zip64 moves sizes and places into 64-bit fields.
std::string archive(const std::vector<Stored>& entries, bool zip64 = false) {
  std::string file, directory;
  for (const Stored& entry : entries) {
    const auto size = static_cast<uint32_t>(entry.data.size());
    const auto at = static_cast<uint32_t>(file.size());
    const auto name = static_cast<uint16_t>(entry.name.size());
    file += raw(0x04034b50u) + raw<uint16_t>(45) + raw(entry.flags) + raw(entry.method) + raw(0u) +
            raw(0u) + raw(size) + raw(size) + raw(name) + raw<uint16_t>(0) + entry.name +
            entry.data;
    const std::string extra = zip64 ? raw<uint16_t>(9) + raw<uint16_t>(1) + "x" + raw<uint16_t>(1) +
                                          raw<uint16_t>(24) + raw(uint64_t{size}) +
                                          raw(uint64_t{size}) + raw(uint64_t{at})
                                    : "";
    const uint32_t absent = 0xffffffff;
    directory += raw(0x02014b50u) + raw(0x002d002du) + raw(entry.flags) + raw(entry.method) +
                 raw(0u) + raw(0u) + raw(zip64 ? absent : size) + raw(zip64 ? absent : size) +
                 raw(name) + raw(static_cast<uint16_t>(extra.size())) + std::string(10, '\0') +
                 raw(zip64 ? absent : at) + entry.name + extra;
  }
  const uint64_t start = file.size(), count = entries.size();
  file += directory;
  const uint64_t end = file.size();
  if (zip64)
    file += raw(0x06064b50u) + raw(uint64_t{44}) + raw(0x002d002du) + raw(0u) + raw(0u) +
            raw(count) + raw(count) + raw(uint64_t{directory.size()}) + raw(start) +
            raw(0x07064b50u) + raw(0u) + raw(end) + raw(1u);
  const auto few = static_cast<uint16_t>(zip64 ? 0xffff : count);
  return file + raw(0x06054b50u) + raw(0u) + raw(few) + raw(few) +
         raw(zip64 ? 0xffffffff : static_cast<uint32_t>(directory.size())) +
         raw(zip64 ? 0xffffffff : static_cast<uint32_t>(start)) + raw<uint16_t>(3) + "end";
}

TEST(Zip, ReadsPlainAndZip64Directories) {
  for (const bool zip64 : {false, true}) {
    const std::string file = archive({{"a", "xyz"}, {"b/c", ""}}, zip64);
    const auto entries = read_zip(bytes_of(file), "f");
    ASSERT_EQ(entries.size(), 2u);
    EXPECT_EQ(entries[0].name, "a");
    EXPECT_EQ(file.substr(entries[0].offset, entries[0].bytes), "xyz");
    EXPECT_EQ(entries[1].name, "b/c");
    EXPECT_EQ(entries[1].bytes, 0u);
  }
}

// The n-th occurrence of `from` becomes `to`, which is as long.
std::string patched(std::string file, const std::string& from, const std::string& to, int n = 0) {
  size_t at = file.find(from);
  for (; n > 0; --n) at = file.find(from, at + 1);
  return file.replace(at, to.size(), to);
}

TEST(Zip, RefusesWhatDoesNotHold) {
  const std::string good = archive({{"a", "xyz"}, {"b", "w"}});
  const size_t directory = good.find(raw(0x02014b50u)), last = good.find(raw(0x06054b50u));
  const auto with = [&](size_t at, const std::string& bytes) {
    std::string file = good;
    return file.replace(at, bytes.size(), bytes);
  };
  const std::pair<std::string, const char*> cases[] = {
      {"", "has 0 bytes, too few"},
      {std::string(100, 'x'), "has no end record"},
      {good + "x", "has no end record"},
      {archive({{"a", "x"}, {"a", "y"}}), "has the entry 'a' twice"},
      {archive({{"a", "x", 8}}), "entry 'a' is compressed (method 8)"},
      {archive({{"a", "x", 0, 1}}), "entry 'a' is encrypted"},
      {with(last + 10, raw<uint16_t>(9)), "9 entries do not fit"},
      {with(last + 16, raw(9999u)), "does not fit before its end record"},
      {with(directory, "QQQQ"), "expected an entry of the directory"},
      {with(directory + 28, raw<uint16_t>(999)), "goes on past the directory"},
      {with(directory + 24, raw(4u)), "is stored in another size"},
      {with(directory + 42, raw(99999u)), "a local header of 30 bytes does not fit"},
      {with(directory + 42, raw(3u)), "expected a local header"},
      {with(directory + 20, raw(0xffffffu) + raw(0xffffffu)), "do not fit before the directory"},
      {with(directory + 20, raw(35u) + raw(35u)), "entries 'a' and 'b' overlap"},
      {patched(good, "axyz", "cxyz"), "has another name in its local header"},
      {with(directory + 20, raw(~0u) + raw(~0u)), "entry 'a' lacks its zip64 field"},
      {patched(archive({{"a", "xyz"}}, true), raw(0x06064b50u), "QQQQ"),
       "expected the zip64 end record"},
  };
  for (const auto& [file, message] : cases) {
    EXPECT_THAT(error_line([&] { read_zip(bytes_of(file), "f"); }),
                AllOf(StartsWith("f, byte "), HasSubstr(message)));
  }
}

// Pickles by hand: a dict {"w": tensor} of a float storage "0" of 6 elements.
std::string word(const std::string& text) {
  return "X" + raw(static_cast<uint32_t>(text.size())) + text;
}
std::string name(const std::string& module, const std::string& member) {
  return "c" + module + "\n" + member + "\n";
}
std::string number(int32_t value) {
  return "J" + raw(value);
}
std::string tuple(const std::vector<int32_t>& values) {
  std::string out = "(";
  for (const int32_t value : values) out += number(value);
  return out + "t";
}
std::string storage(int32_t elements = 6, const std::string& key = "0",
                    const std::string& type = "FloatStorage") {
  return "(" + word("storage") + name("torch", type) + word(key) + word("cpu") + number(elements) +
         "tQ";
}
std::string tensor(const std::string& from, int32_t first, const std::string& shape,
                   const std::string& strides) {
  return name("torch._utils", "_rebuild_tensor_v2") + "(" + from + number(first) + shape + strides +
         "\x89}tR";
}
std::string dict(const std::string& key, const std::string& value) {
  return "}" + word(key) + value + "s";
}
std::string pickle(const std::string& value) {
  return "\x80\x02" + value + ".";
}
std::string checkpoint(const std::string& data_pkl,
                       const std::string& data = std::string(24, 'd')) {
  return archive({{"m/data.pkl", data_pkl}, {"m/data/0", data}, {"m/byteorder", "little"}});
}
std::string of_tensor(const std::string& value) {
  return checkpoint(pickle(dict("w", value)));
}

TEST(TorchZip, ReadsATensorMadeByHand) {
  const std::string file = of_tensor(tensor(storage(), 1, tuple({2, 2}), tuple({3, 1})));
  const auto tensors = parse_torch_zip(bytes_of(file), "f");
  ASSERT_EQ(tensors.size(), 1u);
  EXPECT_EQ(tensors[0].name, "w");
  EXPECT_EQ(tensors[0].bytes, 16u);
}

TEST(TorchArchive, GivesObjectsOfListedNamesAsInertValues) {
  const std::string_view names[] = {"some.module Thing"};
  const std::string thing = name("some.module", "Thing");
  const std::string file =
      checkpoint(pickle("}" + word("made") + thing + "K\x05\x85R" + "s" + word("object") + thing +
                        ")\x81" + dict("scale", "K\x07") + "bs" + word("list") + "]" +
                        tensor(storage(), 1, tuple({2, 2}), tuple({3, 1})) + "as"));
  EXPECT_THAT(error_line([&] { TorchArchive(bytes_of(file), "f", {}); }),
              HasSubstr("names 'some.module.Thing'"));

  const TorchArchive archive(bytes_of(file), "f", names);
  const auto& items = archive.root().items;
  ASSERT_EQ(items.size(), 6u);
  EXPECT_EQ(items[1]->text, names[0]);
  EXPECT_EQ(items[1]->items.at(0)->items.at(0)->integer, 5);
  EXPECT_EQ(items[3]->items.at(1)->items.at(1)->integer, 7);
  EXPECT_EQ(archive.tensor("w", *items[5]->items.at(0)).bytes, 16u);
  EXPECT_THAT(error_line([&] { archive.tensor("w", *items[1]); }), HasSubstr("'w': is no tensor"));
  EXPECT_THAT(error_line([&] { archive.tensor("w", *items[0]); }), HasSubstr("'w': is no tensor"));
}

TEST(TorchZip, ReadsATensorWithAttributes) {
  const auto with_attributes = [](const std::string& arguments) {
    return of_tensor(name("torch._tensor", "_rebuild_from_type_v2") + "(" +
                     name("torch._utils", "_rebuild_tensor_v2") + name("torch", "Tensor") +
                     arguments + "}tR");
  };
  const std::string file =
      with_attributes("(" + storage() + number(1) + tuple({2, 2}) + tuple({3, 1}) + "\x89}t");
  EXPECT_EQ(parse_torch_zip(bytes_of(file), "f").at(0).bytes, 16u);
  EXPECT_THAT(error_line([&] { parse_torch_zip(bytes_of(with_attributes(")")), "f"); }),
              HasSubstr("'w': has attributes, but is no tensor"));
}

TEST(TorchZip, RefusesByNameWhatIsNotAllowed) {
  const std::string w = tensor(storage(), 0, tuple({6}), tuple({1}));
  const std::pair<std::string, const char*> cases[] = {
      {checkpoint(pickle(name("os", "system") + word("echo") + "\x85R")),
       "names 'os.system', which is not allowed"},
      {checkpoint(pickle(name("builtins", "eval") + ")R")), "names 'builtins.eval'"},
      {checkpoint(pickle(word("os") + word("system") + "\x93)R")), "names 'os.system'"},
      {checkpoint(pickle(name("torch", "UntypedStorage"))), "names 'torch.UntypedStorage'"},
      {checkpoint(pickle(name("torch._utils", "_rebuild_tensor_v3"))), "_rebuild_tensor_v3'"},
      {checkpoint(pickle("\x92")), "has the instruction 146, which torch.save does not use"},
      {checkpoint(pickle(name("os", "system") + ")\x81")), "names 'os.system'"},
      {checkpoint(pickle("N)\x81")), "calls what is no name"},
      {checkpoint(pickle("]Nb")), "adds items to what is no dict"},
      {checkpoint(pickle("i")), "has the instruction 105"},
      {checkpoint("\x80\x01}."), "protocol 1, expected 2 to 5"},
      {checkpoint(pickle("")), "takes a value from an empty stack"},
      {checkpoint("\x80\x02}"), "expected 1 bytes, 0 are left"},
      {checkpoint(pickle("]")), "does not hold a dict of tensors"},
      {checkpoint(pickle("}t")), "there is no mark"},
      {checkpoint(pickle("}(s")), "takes a value from an empty stack"},
      {checkpoint(pickle("](K\x01K\x02u")), "adds items to what is no dict"},
      {checkpoint(pickle("}(K\x01u")), "a key without a value"},
      {checkpoint(pickle("h\x05")), "recalls value 5, which is not there"},
      {checkpoint(pickle("X" + raw(0xffffffu))), "expected 16777215 bytes"},
      {checkpoint(pickle("\x8a\x09" + std::string(9, 'x'))), "a whole number of 9 bytes"},
      {checkpoint(pickle("K\x01)R")), "calls what is no name"},
      {checkpoint(pickle(name("collections", "OrderedDict") + "]\x85R")),
       "an OrderedDict made from a list"},
      {checkpoint(pickle("]}b")), "adds items to what is no dict"},
      {checkpoint(pickle("c" + std::string(300, 'x'))), "a name of more than 256 bytes"},
      {of_tensor(name("torch", "FloatStorage") + ")R"), "tensor 'w': is no tensor"},
      {checkpoint(pickle(dict("", w))), "whose name is empty"},
      {checkpoint(pickle(dict("a\nb", w))), "not printable ASCII"},
      {checkpoint(pickle("}N" + w + "s")), "has a key that is no text"},
      {checkpoint(pickle("}" + word("w") + w + "s" + word("w") + w + "s")), "'w' twice"},
      {checkpoint(pickle("}q\x01" + word("a") + "h\x01s")), "holds the same dict in two places"},
  };
  for (const auto& [file, message] : cases)
    EXPECT_THAT(error_line([&] { parse_torch_zip(bytes_of(file), "f"); }),
                AllOf(StartsWith("f"), HasSubstr(message)));
}

TEST(TorchZip, RefusesTensorsThatLeaveTheirStorage) {
  const std::string ones = tuple({1});
  const std::pair<std::string, const char*> cases[] = {
      {tensor(storage(), 1, tuple({6}), ones), "lead out of its storage of 6"},
      {tensor(storage(), 0, tuple({2, 2}), tuple({4, 2})), "lead out of its storage"},
      {tensor(storage(), 0, tuple({2, 2}), tuple({0x7fffffff, 0x7fffffff})), "lead out"},
      {tensor(storage(), 7, tuple({0}), ones), "lead out of its storage"},
      {tensor(storage(), 0, tuple({7}), tuple({0})), "has more elements than its storage of 6"},
      {tensor(storage(), 0, tuple({0x7fffffff, 0x7fffffff, 0x7fffffff}), tuple({0, 0, 0})),
       "has more elements than its storage"},
      {tensor(storage(), 0, tuple({-1}), ones), "hold what is no size"},
      {tensor(storage(), 0, tuple({2}), tuple({-1})), "hold what is no size"},
      {tensor(storage(), -1, tuple({2}), ones), "begins at what is no element"},
      {tensor(storage(), 0, tuple({2, 3}), ones), "another number of strides than dims"},
      {tensor(storage(), 0, "]", ones), "shape or strides are no tuple"},
      {tensor(storage(5), 0, tuple({5}), ones), "storage of 5 elements has 24 bytes"},
      {tensor(storage(6, "1"), 0, tuple({6}), ones), "its storage is not in the archive"},
      {tensor(storage(6, "../data.pkl"), 0, ones, ones), "its storage is not in the archive"},
      {tensor("N", 0, tuple({6}), ones), "has no storage"},
      {tensor("NQ", 0, tuple({6}), ones), "has no storage"},
      {tensor("(K\x01tQ", 0, tuple({6}), ones), "not described as torch.save does"},
      {name("torch._utils", "_rebuild_tensor_v2") + ")R", "is made from 0 arguments"},
      {name("torch._utils", "_rebuild_parameter") + "N\x85R", "is no tensor"},
  };
  for (const auto& [value, message] : cases) {
    const std::string file = of_tensor(value);
    EXPECT_THAT(error_line([&] { parse_torch_zip(bytes_of(file), "f"); }),
                AllOf(StartsWith("f: tensor 'w'"), HasSubstr(message)));
  }
}

TEST(TorchZip, RefusesOtherFilesWithTheirReason) {
  const std::pair<std::string, const char*> cases[] = {
      {"\x80\x02\x8a\x0al\xfc\x9c", "format of PyTorch before 1.6"},
      {archive({{"x", "y"}}), "without FOLDER/data.pkl"},
      {archive({{"a/data.pkl", ""}, {"b/data.pkl", ""}}), "two entries data.pkl"},
      {archive({{"m/data.pkl", pickle("}")}, {"m/byteorder", "big"}}),
       "not in little-endian order"},
  };
  for (const auto& [file, message] : cases)
    EXPECT_THAT(error_line([&] { parse_torch_zip(bytes_of(file), "f"); }), HasSubstr(message));
  const std::string nothing = checkpoint(pickle("}"));
  EXPECT_TRUE(parse_torch_zip(bytes_of(nothing), "f").empty());
}

// One tuple of many items, called again and again: memory must not grow with the product.
TEST(Pickle, BoundsItsMemory) {
  std::string bomb = "\x80\x02" + name("torch._utils", "_rebuild_tensor_v2") + "q\1(";
  for (int i = 0; i < 100000; ++i) bomb += "N";
  bomb += "tq\2";
  for (int i = 0; i < 100000; ++i) bomb += "h\1h\2R";
  const std::string_view allowed[] = {"torch._utils _rebuild_tensor_v2"};
  const Pickle pickle(bytes_of(bomb + "."), allowed, "f");
  EXPECT_EQ(pickle.root().items.size(), 1u);

  const std::string many = "\x80\x02" + std::string(kMaxPickleValues + 1, 'N') + ".";
  EXPECT_THAT(error_line([&] { Pickle(bytes_of(many), allowed, "f"); }),
              HasSubstr("has more than 2097152 values"));
  const std::string large(kMaxPickleBytes + 1, 'N');
  EXPECT_THAT(error_line([&] { Pickle(bytes_of(large), allowed, "f"); }), HasSubstr("at most"));
}

}  // namespace
}  // namespace hydrofoil::io::torch_zip_test
