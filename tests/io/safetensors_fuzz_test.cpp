// SPDX-License-Identifier: Apache-2.0
// Mutations of good headers: whatever comes in, the parser refuses it with an Error or returns a
// header that keeps the whole contract. Run under the address sanitizer to see reads out of bounds.
#include <gtest/gtest.h>

#include <array>

#include "hydrofoil/core/error.h"
#include "hydrofoil/io/safetensors.h"
#include "tests/support/dice.h"

namespace hydrofoil::io::safetensors_fuzz_test {
namespace {

using test::Dice;

// Pieces that mean something to the parser, so that mutations get past the JSON.
constexpr std::array<std::string_view, 18> kWords = {
    "{",       "}",   "[",  "]",  ",",     ":",       "\"",       "0",
    "-1",      "1e9", "[]", "{}", "\"t\"", "\"F32\"", "\"BF16\"", "9223372036854775807",
    "\\u0000", " "};

void mutate(std::string& file, Dice& dice) {
  const size_t at = dice.below(file.size());
  switch (dice.below(6)) {
    case 0:
      file[at] = static_cast<char>(file[at] ^ (1 << dice.below(8)));
      break;
    case 1:
      file[at] = static_cast<char>(dice.below(256));
      break;
    case 2:
      file.erase(at, 1 + dice.below(8));
      break;
    case 3:
      file.insert(at, kWords[dice.below(kWords.size())]);
      break;
    case 4:
      file.insert(at, file.substr(dice.below(file.size()), dice.below(64)));
      break;
    default:
      file[at] = static_cast<char>('0' + dice.below(10));
  }
  if (file.empty()) file.push_back('x');
}

// Half of the mutants get a length field that fits, so that the JSON is looked at.
void mend_length(std::string& file, size_t data_bytes) {
  if (file.size() < 8 + data_bytes) return;
  const uint64_t length = file.size() - 8 - data_bytes;
  for (size_t i = 0; i < 8; ++i) file[i] = static_cast<char>(length >> (8 * i));
}

void expect_contract(const SafetensorsHeader& header, uint64_t file_bytes) {
  uint64_t end = header.data_offset;
  for (const StoredTensor& tensor : header.tensors) {
    uint64_t elements = 0, bytes = 0;
    ASSERT_TRUE(count_elements(tensor.shape, tensor.dtype, elements, bytes));
    ASSERT_EQ(bytes, tensor.bytes);
    ASSERT_EQ(tensor.offset, end);
    end += bytes;
  }
  ASSERT_EQ(end, file_bytes);
}

std::string good_file() {
  const SafetensorsPlan plan = plan_safetensors(
      {{"a", DType::kI8, {3}}, {"b.weight", DType::kF32, {2, 3}}, {"c", DType::kBF16, {0, 2}}},
      {{"format", "pt"}});
  return plan.header + std::string(plan.file_bytes - plan.header.size(), 'd');
}

TEST(SafetensorsFuzz, RefusesOrKeepsTheContract) {
  const std::string good = good_file();
  constexpr int kRounds = 60000;
  constexpr size_t kDataBytes = 27;
  int accepted = 0;
  for (int round = 0; round < kRounds; ++round) {
    Dice dice(20, static_cast<uint64_t>(round));
    std::string file = good;
    for (size_t n = 1 + dice.below(4); n > 0; --n) mutate(file, dice);
    if (round % 2 == 0) mend_length(file, kDataBytes);
    try {
      expect_contract(parse_safetensors(std::as_bytes(std::span(file)), file.size(), "f"),
                      file.size());
      ++accepted;
    } catch (const Error& error) {
      ASSERT_EQ(error.code(), ExitCode::kCheckpoint);
    }
    if (HasFatalFailure()) FAIL() << "round " << round;
  }
  // Neither blind acceptance nor a mutator that never gets past the first check.
  EXPECT_GT(accepted, kRounds / 100);
  EXPECT_LT(accepted, kRounds / 2);
}

}  // namespace
}  // namespace hydrofoil::io::safetensors_fuzz_test
