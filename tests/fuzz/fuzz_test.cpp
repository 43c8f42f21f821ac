// SPDX-License-Identifier: Apache-2.0
// What every compiler can run of the fuzz targets: the same mutations in every run, for as long as
// the time allows. Run under the sanitizers to see reads out of bounds.
#include <gtest/gtest.h>

#include <array>
#include <chrono>
#include <cstring>

#include "tests/fuzz/target.h"
#include "tests/support/dice.h"

namespace hydrofoil::fuzz {
namespace {

using test::Dice;

// Of each target: a minute where a sanitizer sees what it does.
#ifdef __SANITIZE_ADDRESS__
constexpr std::chrono::seconds kTime{60};
#else
constexpr std::chrono::seconds kTime{1};
#endif

// Counts and offsets that parsers get wrong.
constexpr std::array<uint64_t, 10> kNumbers = {
    0, 1, 0x7f, 0x80, 0xffff, 0x7fffffff, 0xffffffff, 0x7fffffffffffffff, ~0ull, uint64_t{1} << 32};

void overwrite_number(std::string& file, size_t at, Dice& dice) {
  const uint64_t number = kNumbers[dice.below(kNumbers.size())];
  const size_t width = size_t{1} << dice.below(4);
  std::memcpy(file.data() + at, &number, std::min(width, file.size() - at));
}

void mutate(std::string& file, const Target& target, const std::string& other, Dice& dice) {
  const size_t at = dice.below(file.size());
  switch (dice.below(8)) {
    case 0:
      file[at] = static_cast<char>(file[at] ^ (1 << dice.below(8)));
      break;
    case 1:
      file[at] = static_cast<char>(dice.below(256));
      break;
    case 2:
      file.erase(at, 1 + dice.below(16));
      break;
    case 3:
      file.insert(at, target.words[dice.below(target.words.size())]);
      break;
    case 4:
      file.insert(at, other.substr(dice.below(other.size()), dice.below(64)));
      break;
    case 5:
      overwrite_number(file, at, dice);
      break;
    case 6:
      file[at] = static_cast<char>('0' + dice.below(10));
      break;
    default:
      if (dice.below(16) == 0) file.resize(at);
  }
  if (file.empty()) file.push_back('x');
}

void run_round(const Target& target, const std::vector<std::string>& seeds, uint64_t round) {
  Dice dice(24, round);
  std::string file = seeds[dice.below(seeds.size())];
  const std::string& other = seeds[dice.below(seeds.size())];
  for (size_t n = 1 + dice.below(4); n > 0; --n) mutate(file, target, other, dice);
  target.run(file);
}

TEST(Fuzz, EveryMutantIsRefusedOrKeepsTheContract) {
  for (const Target* target : targets()) {
    SCOPED_TRACE(target->name);
    const auto seeds = target->seeds();
    for (const std::string& seed : seeds) ASSERT_NO_THROW(target->run(seed));
    const auto end = std::chrono::steady_clock::now() + kTime;
    uint64_t round = 0;
    for (; std::chrono::steady_clock::now() < end; ++round)
      ASSERT_NO_THROW(run_round(*target, seeds, round)) << "round " << round;
    RecordProperty(target->name, static_cast<int64_t>(round));
  }
}

// Depth is what small mutations never reach.
TEST(Fuzz, EveryTargetSurvivesDeepNesting) {
  for (const Target* target : targets()) {
    SCOPED_TRACE(target->name);
    for (const char* open : {"[", "{\"a\":", "("}) {
      std::string deep;
      for (int i = 0; i < 200000; ++i) deep += open;
      EXPECT_NO_THROW(target->run(deep));
      EXPECT_NO_THROW(
          target->run("{\"model_type\":" + deep + "1" + std::string(200000, ']') + "}"));
      EXPECT_NO_THROW(target->run("{\"model_type\":\"llama\",\"vocab_size\":" + deep + "1" +
                                  std::string(200000, *open == '[' ? ']' : '}') + "}"));
    }
  }
}

}  // namespace
}  // namespace hydrofoil::fuzz
