// SPDX-License-Identifier: Apache-2.0
// What a language model must beat: a byte n-gram model with Witten-Bell smoothing.
//
//   ngram_baseline ORDER TRAIN_BYTES HELDOUT TRAIN..   ->  "1.873 bits per byte"
//
// p(c | context) mixes what followed this context with the prediction of the context shortened by
// one byte: (count(context, c) + kinds(context) * shorter(c)) / (count(context) +
// kinds(context)), where kinds is the number of different bytes seen after the context. Counts are
// in one hash table keyed by (length, bytes): about 16 bytes for every different n-gram.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <fstream>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include "hydrofoil/core/error.h"

namespace {

using hydrofoil::Error;
using hydrofoil::ExitCode;

struct Counts {
  uint32_t total = 0;  // of an n-gram; of a context, of everything that followed it
  uint32_t kinds = 0;  // of a context only
};

// Open addressing; keys are never 0 because each holds its length.
class Table {
 public:
  Counts& at(uint64_t key) {
    if (2 * used_ >= slots_.size()) grow();
    Slot& slot = find(key);
    if (slot.key == 0) slot.key = key, ++used_;
    return slot.counts;
  }
  Counts get(uint64_t key) { return find(key).counts; }

 private:
  struct Slot {
    uint64_t key = 0;
    Counts counts;
  };

  Slot& find(uint64_t key) {
    size_t i = (key * 0x9E3779B97F4A7C15u) >> shift_;
    while (slots_[i].key != 0 && slots_[i].key != key) i = (i + 1) & (slots_.size() - 1);
    return slots_[i];
  }
  void grow() {
    std::vector<Slot> old(2 * slots_.size());
    old.swap(slots_);
    --shift_;
    for (const Slot& slot : old)
      if (slot.key != 0) find(slot.key) = slot;
  }

  int shift_ = 64 - 16;
  std::vector<Slot> slots_ = std::vector<Slot>(size_t{1} << 16);
  size_t used_ = 0;
};

class Ngrams {
 public:
  explicit Ngrams(int order) : order_(order) {}

  void learn(std::string_view text) {
    for (size_t i = 0; i < text.size(); ++i)
      for (int length = 0; length <= order_ && static_cast<size_t>(length) <= i; ++length) {
        Counts& context = table_.at(key(text, i, length, kContext));
        ++context.total;
        const uint32_t kinds = context.kinds;
        if (++table_.at(key(text, i + 1, length + 1, kGram)).total == 1)
          table_.at(key(text, i, length, kContext)).kinds = kinds + 1;
      }
  }

  double bits_per_byte(std::string_view text) {
    double bits = 0;
    for (size_t i = 0; i < text.size(); ++i) {
      double p = 1.0 / 256;
      for (int length = 0; length <= order_ && static_cast<size_t>(length) <= i; ++length) {
        const Counts context = table_.get(key(text, i, length, kContext));
        if (context.total == 0) break;  // longer contexts were not seen either
        const Counts gram = table_.get(key(text, i + 1, length + 1, kGram));
        p = (gram.total + context.kinds * p) / (static_cast<double>(context.total) + context.kinds);
      }
      bits -= std::log2(p);
    }
    return bits / static_cast<double>(text.size());
  }

 private:
  enum Role : uint64_t { kContext = 1, kGram = 2 };

  // The `length` bytes before `end`, with their number and role: at most 7 bytes fit.
  static uint64_t key(std::string_view text, size_t end, int length, Role role) {
    uint64_t bytes = 0;
    for (size_t i = end - static_cast<size_t>(length); i < end; ++i)
      bytes = bytes << 8 | static_cast<unsigned char>(text[i]);
    return bytes << 8 | static_cast<uint64_t>(length) << 2 | role;
  }

  int order_;
  Table table_;
};

std::string contents(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream text;
  if (!in || !(text << in.rdbuf())) throw Error(ExitCode::kData, "cannot be read", path);
  return text.str();
}

int run(int argc, char** argv) {
  if (argc < 5) throw Error(ExitCode::kUsage, "needs ORDER TRAIN_BYTES HELDOUT TRAIN..");
  const int order = std::stoi(argv[1]);
  if (order < 0 || order > 6) throw Error(ExitCode::kUsage, "ORDER is a number from 0 to 6");
  const size_t budget = std::stoull(argv[2]);
  std::string train;
  for (int i = 4; i < argc; ++i) train += contents(argv[i]);
  Ngrams model(order);
  // A part of the text is taken from its whole length, as a shuffled run would.
  constexpr size_t kRun = 4096;
  const size_t step = std::max(kRun, static_cast<size_t>(static_cast<double>(train.size()) /
                                                         static_cast<double>(budget) * kRun));
  for (size_t at = 0; at < train.size(); at += step)
    model.learn(std::string_view(train).substr(at, kRun));
  std::printf("%.3f bits per byte\n", model.bits_per_byte(contents(argv[3])));
  return 0;
}

}  // namespace

int main(int argc, char** argv) try { return run(argc, argv); } catch (const Error& error) {
  std::fprintf(stderr, "ngram_baseline: error: %s\n", error.line().c_str());
  return static_cast<int>(error.code());
} catch (const std::exception& error) {
  std::fprintf(stderr, "ngram_baseline: error: %s\n", error.what());
  return 1;
}
