// SPDX-License-Identifier: Apache-2.0
// Commands under --memory-cap: the answers of a model that is all in memory, or why there are none.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <regex>
#include <string>
#include <vector>

#include "tests/cli/tiny_model.h"

namespace hydrofoil::cli::streaming_test {
namespace {

using testing::HasSubstr;

class MemoryCap : public TinyModel {
 protected:
  // Seven layers of 2.6 MB: more than a program's size varies by.
  MemoryCap() {
    const std::string config =
        R"({"model_type": "llama", "vocab_size": 257, "hidden_size": 256,
            "intermediate_size": 512, "num_hidden_layers": 7, "num_attention_heads": 8,
            "num_key_value_heads": 4, "max_position_embeddings": 256,
            "tie_word_embeddings": true})";
    replace_model(config, 0.125F);
  }

  // Without what goes to standard error.
  std::string answer(const std::string& command, const std::string& options) const {
    const Result result =
        hydrofoil(command + " '" + folder_.string() + "' " + options + " 2>/dev/null");
    EXPECT_EQ(result.code, 0) << options;
    return result.out;
  }
};

#ifndef __SANITIZE_ADDRESS__  // whose own memory varies by more than the layers take
TEST_F(MemoryCap, TheLeastThatIsNamedIsEnoughAndAnswersTheSame) {
  const std::string prompts =
      file("prompts.jsonl", "\"Once upon\"\n\"a time there\"\n\"was\"\n\"a b c d e f g\"\n");
  const auto check = [&](const std::string& command, const std::string& options) {
    const Result refused = run(command, options + " --memory-cap 1MiB");
    EXPECT_EQ(refused.code, 4) << refused.out;
    EXPECT_THAT(refused.out, HasSubstr("one layer at a time"));
    std::smatch least;
    ASSERT_TRUE(std::regex_search(refused.out, least, std::regex("--memory-cap (\\d+)MiB is")));
    // The program may be a little larger the next time.
    const std::string cap =
        " --memory-cap " + std::to_string(std::stoi(least[1].str()) + 3) + "MiB";
    EXPECT_THAT(run(command, options + cap).out, HasSubstr("layers are read from disk"));
    EXPECT_EQ(answer(command, options + cap), answer(command, options));
  };
  const std::string batch = "--greedy --max-tokens 9 --sequences 3 --prompts " + prompts;
  check("generate", batch);
  check("generate", batch + " --type bf16 --stream-folder '" + testing::TempDir() + "'");
  check("generate", "--greedy --max-tokens 9 --prompt 'Once upon'");
  check("eval", "--json --text " + file("text.txt", "a text of a few words, then it ends."));
}
#endif

TEST_F(MemoryCap, ThatIsLargeEnoughStreamsNothing) {
  const Result result = run("generate", "--greedy --max-tokens 3 --prompt a --memory-cap 1GiB");
  EXPECT_EQ(result.code, 0);
  EXPECT_THAT(result.out, testing::Not(HasSubstr("disk")));
}

TEST_F(MemoryCap, NamesWhatIsWrong) {
  EXPECT_EQ(run("generate", "--prompt a --memory-cap 1zz").code, 2);
  EXPECT_EQ(run("generate", "--prompt a --memory-cap 1GiB --stream-folder nowhere").code, 2);
}

}  // namespace
}  // namespace hydrofoil::cli::streaming_test
