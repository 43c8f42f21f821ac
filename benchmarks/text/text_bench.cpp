// SPDX-License-Identifier: Apache-2.0
// Speed of encoding and of training a tokenizer, one line a run.
//
//   text_bench encode tokenizer.json FILE [ids.u32]   five encodings of a whole file, one thread
//   text_bench train VOCAB FILE [tokenizer.json]      counting words and merging, one thread
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <fstream>
#include <sstream>

#include "hydrofoil/core/host.h"
#include "hydrofoil/text/bpe_trainer.h"
#include "hydrofoil/text/tokenizer_json.h"

namespace {

using hydrofoil::text::BpeTrainer;

std::string read(const char* path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

class Timer {
 public:
  double seconds() const {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin_).count();
  }

 private:
  std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
};

int encode(const char* tokenizer_path, const char* text_path, const char* ids_path) {
  const auto tokenizer = hydrofoil::text::load_tokenizer(tokenizer_path);
  const std::string text = read(text_path);
  std::vector<double> speeds;
  std::vector<int32_t> ids;
  for (int round = 0; round < 5; ++round) {
    const Timer timer;
    ids = tokenizer.encode(text);
    speeds.push_back(static_cast<double>(text.size()) / 1e6 / timer.seconds());
  }
  std::sort(speeds.begin(), speeds.end());
  std::printf("encode %s: %zu bytes, %zu tokens, median %.1f MB/s, %.1f-%.1f, %s\n", text_path,
              text.size(), ids.size(), speeds[2], speeds.front(), speeds.back(),
              hydrofoil::host::cpu_model().c_str());
  if (ids_path)
    std::ofstream(ids_path, std::ios::binary)
        .write(reinterpret_cast<const char*>(ids.data()),
               static_cast<std::streamsize>(ids.size() * sizeof ids[0]));
  return 0;
}

int train(const char* vocab_size, const char* text_path, const char* tokenizer_path) {
  const std::string text = read(text_path);
  const Timer timer;
  BpeTrainer trainer({.vocab_size = std::atoll(vocab_size)});
  trainer.feed(text);
  const double counted = timer.seconds();
  const auto spec = trainer.train();
  std::printf("train %s: %zu bytes, %zu tokens, words %.2f s, merges %.2f s, peak %.0f MB, %s\n",
              text_path, text.size(), spec.bpe.tokens.size(), counted, timer.seconds() - counted,
              static_cast<double>(hydrofoil::host::process_memory().peak_rss_bytes) / 1e6,
              hydrofoil::host::cpu_model().c_str());
  if (tokenizer_path) hydrofoil::text::save_tokenizer(spec, tokenizer_path);
  return 0;
}

}  // namespace

int main(int argc, char** argv) try {
  const char* output = argc > 4 ? argv[4] : nullptr;
  if (argc >= 4 && std::strcmp(argv[1], "encode") == 0) return encode(argv[2], argv[3], output);
  if (argc >= 4 && std::strcmp(argv[1], "train") == 0) return train(argv[2], argv[3], output);
  std::fprintf(stderr, "usage: text_bench {encode TOKENIZER | train VOCAB} FILE [OUTPUT]\n");
  return 2;
} catch (const std::exception& error) {
  std::fprintf(stderr, "text_bench: %s\n", error.what());
  return 1;
}
