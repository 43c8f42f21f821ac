// SPDX-License-Identifier: Apache-2.0
// A released model as it is: SmolLM2-135M-Instruct in GGUF. Skipped until scripts/fetch_model.py
// has been run.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <map>

#include "hydrofoil/io/hash.h"
#include "hydrofoil/kernels/dequantize.h"
#include "hydrofoil/spec/from_gguf.h"
#include "hydrofoil/spec/to_gguf.h"
#include "tests/support/golden.h"

namespace hydrofoil::spec::smollm2_test {
namespace {

const char* const kModel = MODELS_FOLDER "/SmolLM2-135M-Instruct.Q4_1.gguf";

class SmolLm2 : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!std::filesystem::exists(kModel))
      GTEST_SKIP() << "the model is not there: run scripts/fetch_model.py (98 MB)";
    file_ = std::make_unique<io::GgufFile>(kModel);
  }
  const io::GgufHeader& header() const { return file_->header(); }
  const io::GgufFile& file() const { return *file_; }

 private:
  std::unique_ptr<io::GgufFile> file_;
};

TEST_F(SmolLm2, IsTheModelOfItsConfigJson) {
  const ModelSpec spec = model_spec_from_gguf(header(), kModel);
  // What the model's config.json says.
  const ModelSpec want = model_spec_from_hf(
      R"({"model_type":"llama","vocab_size":49152,"hidden_size":576,"intermediate_size":1536,
          "num_hidden_layers":30,"num_attention_heads":9,"num_key_value_heads":3,
          "max_position_embeddings":8192,"rms_norm_eps":1e-05,"rope_theta":100000,
          "hidden_act":"silu","tie_word_embeddings":true,"initializer_range":0.02})",
      "config.json");
  EXPECT_EQ(hf_config(spec), hf_config(want));
  EXPECT_EQ(parameter_count(spec), 134515008);
}

TEST_F(SmolLm2, DequantisesToThePackagesValuesInHuggingFacesOrder) {
  std::map<std::string, std::string> want;
  std::ifstream lines(GOLDEN_FOLDER "/smollm2_tensors.txt");
  for (std::string name, digest; lines >> name >> digest;) want[name] = digest;
  ASSERT_EQ(want.size(), 272u);

  const auto weights = gguf_weights(model_spec_from_gguf(header(), kModel));
  ASSERT_EQ(weights.size(), want.size());
  std::vector<float> stored, values;
  for (const GgufWeight& weight : weights) {
    const io::GgufTensor& tensor = file().at(weight.stored_name);
    const GgmlLayout& layout = layout_of(tensor.type);
    stored.resize(tensor.bytes / layout.block_bytes * layout.block_elements);
    values.resize(stored.size());
    kernels::dequantize(tensor.type, file().mapped(tensor), stored);
    to_hf_order(weight, stored, values);
    EXPECT_EQ(io::hash_of(std::as_bytes(std::span(values))), want[weight.name]) << weight.name;
    std::vector<float> again(values.size());
    to_gguf_order(weight, values, again);
    EXPECT_TRUE(again == stored) << weight.name;
  }
}

TEST_F(SmolLm2, EncodesAsTheTransformersLibraryDoes) {
  const text::Tokenizer tokenizer(tokenizer_spec_from_gguf(header(), kModel));
  EXPECT_EQ(tokenizer.vocab_size(), 49152);
  const auto golden = nlohmann::json::parse(test::read_text(GOLDEN_FOLDER "/smollm2_ids.json"));
  ASSERT_EQ(golden["cases"].size(), 12u);
  for (const auto& item : golden["cases"]) {
    const auto text = item["text"].get<std::string>();
    const auto ids = item["ids"].get<std::vector<int32_t>>();
    EXPECT_EQ(tokenizer.encode(text), ids) << text;
    EXPECT_EQ(tokenizer.decode(ids), text);
  }
  EXPECT_EQ(tokenizer.id_of("<|im_end|>"), 2);
  EXPECT_TRUE(tokenizer.is_special(0));
}

// What is written for it says all that its own file says to us.
TEST_F(SmolLm2, ComesBackFromItsOwnMetadata) {
  const ModelSpec spec = model_spec_from_gguf(header(), kModel);
  const text::Tokenizer tokenizer(tokenizer_spec_from_gguf(header(), kModel));
  io::GgufHeader again;
  again.metadata = gguf_metadata(spec, "m");
  for (auto& entry : gguf_tokenizer_metadata(tokenizer, spec.vocab_size, "m"))
    again.metadata.push_back(std::move(entry));
  again.tensors = header().tensors;
  EXPECT_EQ(model_spec_from_gguf(again, "again"), spec);
  EXPECT_EQ(tokenizer_spec_from_gguf(again, "again"), tokenizer.spec());
  for (const char* key : {"tokens", "merges", "token_type"}) {
    const std::string full = std::string("tokenizer.ggml.") + key;
    EXPECT_EQ(*again.find(full), *header().find(full)) << key;
  }
}

}  // namespace
}  // namespace hydrofoil::spec::smollm2_test
