// SPDX-License-Identifier: Apache-2.0
// One model in every format: the same values under the same names, whatever piece is read.
#include "hydrofoil/checkpoint/model_source.h"

#include <gtest/gtest.h>

#include <cstring>
#include <fstream>
#include <limits>
#include <map>
#include <numeric>

#include "hydrofoil/checkpoint/export.h"
#include "hydrofoil/io/file.h"
#include "hydrofoil/io/gguf_writer.h"
#include "hydrofoil/kernels/dequantize.h"
#include "hydrofoil/kernels/quantize.h"
#include "hydrofoil/spec/from_gguf.h"
#include "tests/checkpoint/support.h"

namespace hydrofoil::checkpoint::model_source_test {
namespace {

namespace fs = std::filesystem;

constexpr const char* kConfig =
    R"({"model_type":"llama","vocab_size":97,"hidden_size":36,"intermediate_size":50,
        "num_hidden_layers":2,"num_attention_heads":6,"num_key_value_heads":2,
        "max_position_embeddings":33,"rms_norm_eps":1e-06,"tie_word_embeddings":true})";

spec::ModelSpec tiny() {
  return spec::model_spec_from_hf(kConfig, "test");
}

// Exact in 16 bits, too.
std::vector<float> values_of(const spec::ParameterSpec& parameter) {
  const auto count = std::accumulate(parameter.shape.begin(), parameter.shape.end(), int64_t{1},
                                     std::multiplies<>());
  std::vector<float> values(static_cast<size_t>(count));
  const auto start = static_cast<int>(parameter.name.size());
  for (size_t i = 0; i < values.size(); ++i)
    values[i] = static_cast<float>((start + static_cast<int>(i) * 7) % 251 - 125) / 64;
  return values;
}

std::vector<spec::ParameterSpec> parameters(const spec::ModelSpec& spec = tiny()) {
  std::vector<spec::ParameterSpec> all;
  for (const auto& block : spec::blocks(spec))
    all.insert(all.end(), block.parameters.begin(), block.parameters.end());
  return all;
}

void write_folder(const fs::path& folder, const std::string& without_prefix = "",
                  const std::string& config = kConfig) {
  fs::create_directories(folder);
  io::atomic_write(folder / "config.json", config);
  const auto all = parameters(spec::model_spec_from_hf(config, "test"));
  std::vector<io::TensorSpec> tensors;
  for (const auto& p : all) {
    std::string name = p.name;
    if (!without_prefix.empty() && name.starts_with(without_prefix))
      name = name.substr(without_prefix.size());
    tensors.push_back({name, DType::kF32, p.shape});
  }
  const auto plan = io::plan_safetensors(tensors);
  const io::File file(folder / "model.safetensors", io::Access::kCreate);
  file.reserve(plan.file_bytes);
  file.write_at(0, std::as_bytes(std::span(plan.header)));
  for (size_t i = 0; i < tensors.size(); ++i) {
    const auto values = values_of(all[i]);
    file.write_at(plan.offsets[i], std::as_bytes(std::span(values)));
  }
}

void write_gguf(const fs::path& path) {
  using namespace io;
  const auto s = tiny();
  const auto u32 = [](int64_t value) { return gguf_u32(static_cast<uint32_t>(value)); };
  const std::vector<GgufEntry> metadata{{"general.architecture", gguf_text("llama")},
                                        {"llama.block_count", u32(s.layers)},
                                        {"llama.context_length", u32(s.max_positions)},
                                        {"llama.embedding_length", u32(s.hidden_size)},
                                        {"llama.feed_forward_length", u32(s.intermediate_size)},
                                        {"llama.attention.head_count", u32(s.heads)},
                                        {"llama.attention.head_count_kv", u32(s.kv_heads)},
                                        {"llama.attention.layer_norm_rms_epsilon", gguf_f32(1e-6F)},
                                        {"llama.rope.dimension_count", u32(s.head_dim)},
                                        {"llama.vocab_size", u32(s.vocab_size)}};
  const auto weights = spec::gguf_weights(s);
  std::vector<GgufTensorSpec> tensors;
  for (const auto& w : weights)
    tensors.push_back({w.stored_name, GgmlType::kF32, w.stored_shape()});
  GgufWriter writer(path, metadata, tensors);
  for (const auto& w : weights)
    for (const auto& p : parameters()) {
      if (p.name != w.name) continue;
      const auto values = values_of(p);
      std::vector<float> stored(values.size());
      if (w.order == spec::GgufOrder::kSame)
        stored = values;
      else
        spec::to_gguf_order(w, values, stored);
      writer.write(w.stored_name, std::as_bytes(std::span(stored)));
    }
  writer.finish();
}

void expect_the_model(const fs::path& path) {
  const ModelSource source(path);
  EXPECT_EQ(spec::hf_config(source.spec()), spec::hf_config(tiny()));
  const auto weights = source.weights();
  for (const auto& p : parameters()) {
    EXPECT_EQ(weights->shape(p.name), p.shape) << p.name;
    const auto expected = values_of(p);
    std::vector<float> whole(expected.size());
    weights->read(p.name, 0, whole);
    EXPECT_EQ(whole, expected) << p.name;
    std::vector<float> part(expected.size() / 3);
    weights->read(p.name, 5, part);
    EXPECT_TRUE(std::equal(part.begin(), part.end(), expected.begin() + 5)) << p.name;
  }
  EXPECT_NE(
      error_line([&] { weights->shape("model.layers.9.mlp.up_proj.weight"); }).find("layers.9"),
      std::string::npos);
}

TEST(ModelSource, ReadsAFolderWithAndWithoutThePrefix) {
  const Scratch scratch;
  write_folder(scratch.path() / "whole");
  expect_the_model(scratch.path() / "whole");
  write_folder(scratch.path() / "bare", "model.");
  expect_the_model(scratch.path() / "bare");
}

TEST(ModelSource, FindsTheChatTemplateOfAFolder) {
  const Scratch scratch;
  write_folder(scratch.path());
  EXPECT_FALSE(ModelSource(scratch.path()).chat_template());
  const auto write = [&](const char* name, const char* text) {
    std::ofstream(scratch.path() / name) << text;
  };
  write("tokenizer_config.json",
        R"({"bos_token": {"content": "<s>"}, "eos_token": "</s>",
            "chat_template": [{"name": "tool_use", "template": "t"}, {"name": "default", "template": "d"}]})");
  auto found = ModelSource(scratch.path()).chat_template().value();
  EXPECT_EQ(found.source, "d");
  EXPECT_EQ(found.bos_token, "<s>");
  EXPECT_EQ(found.eos_token, "</s>");
  write("tokenizer_config.json", R"({"chat_template": "one"})");
  EXPECT_EQ(ModelSource(scratch.path()).chat_template().value().source, "one");
  write("chat_template.jinja", "own");
  EXPECT_EQ(ModelSource(scratch.path()).chat_template().value().source, "own");
}

TEST(ModelSource, ReadsAGgufFileInHuggingFacesOrder) {
  const Scratch scratch;
  write_gguf(scratch.path() / "model.gguf");
  expect_the_model(scratch.path() / "model.gguf");
}

TEST(ModelSource, WhatIsExportedIsTheModelAgain) {
  const Scratch scratch;
  write_gguf(scratch.path() / "model.gguf");
  const ModelSource source(scratch.path() / "model.gguf");
  for (const DType dtype : {DType::kF32, DType::kBF16, DType::kF16}) {
    const fs::path out = scratch.path() / std::string(name_of(dtype));
    EXPECT_EQ(export_model(source, out, dtype).tensors, parameters().size());
    expect_the_model(out);
  }
  // Neither a second model over the first nor anything beside it.
  EXPECT_NE(error_line([&] {
              export_model(source, scratch.path() / "F32", DType::kF32);
            }).find("not an empty folder"),
            std::string::npos);
  for (const auto& entry : fs::directory_iterator(scratch.path()))
    EXPECT_EQ(entry.path().string().find(".tmp-"), std::string::npos);
}

// Every family with a form of its own in GGUF: transposed matrices, rotary pairs, biases, norms of
// heads, heads that are tied and not.
TEST(ModelSource, AFolderAsGgufAndBackIsTheSameBitForBit) {
  const std::string sizes = R"("vocab_size":97,"hidden_size":60,"intermediate_size":100,
      "num_hidden_layers":2,"num_attention_heads":6,"num_key_value_heads":2)";
  for (const std::string& config :
       {std::string(R"({"model_type":"gpt2","vocab_size":97,"n_positions":33,"n_embd":60,
            "n_layer":3,"n_head":5})"),
        R"({"model_type":"llama","tie_word_embeddings":false,"attention_bias":true,)" + sizes + "}",
        R"({"model_type":"qwen2","tie_word_embeddings":true,)" + sizes + "}",
        R"({"model_type":"qwen3","head_dim":16,)" + sizes + "}"}) {
    const Scratch scratch;
    write_folder(scratch.path() / "from", "", config);
    const ModelSource from(scratch.path() / "from");
    export_model(from, scratch.path() / "plain", DType::kF32);
    for (const GgmlType type : {GgmlType::kF32, GgmlType::kBF16, GgmlType::kF16}) {
      const auto name = layout_of(type).name;
      const fs::path file = scratch.path() / (std::string(name) + ".gguf");
      const fs::path back = scratch.path() / name;
      export_gguf(from, file, type);
      export_model(ModelSource(file), back, DType::kF32);
      EXPECT_EQ(io::read_text(back / "model.safetensors"),
                io::read_text(scratch.path() / "plain" / "model.safetensors"))
          << config << name;
      const io::GgufFile gguf(file);
      EXPECT_EQ(gguf.at("token_embd.weight").type, type);
      EXPECT_EQ(gguf.at("output_norm.weight").type, GgmlType::kF32);
      EXPECT_NE(error_line([&] { export_gguf(from, file, type); }).find("exists"),
                std::string::npos);
    }
  }
}

// The type a tensor is expected in: vectors, the embedding and the head, other matrices.
struct Expected {
  GgmlType type, at_an_end, others;
};
void expect_rounded_alone(const std::string& config, const Expected& expected) {
  const Scratch scratch;
  write_folder(scratch.path() / "from", "", config);
  const ModelSource from(scratch.path() / "from");
  const fs::path file = scratch.path() / "out.gguf";
  const auto exported = export_gguf(from, file, expected.type);
  const io::GgufFile gguf(file);
  for (const auto& weight : spec::gguf_weights(from.spec()))
    EXPECT_EQ(gguf.at(weight.stored_name).type, weight.fp32_only   ? GgmlType::kF32
                                                : weight.at_an_end ? expected.at_an_end
                                                                   : expected.others)
        << weight.name;
  const auto weights = ModelSource(file).weights();
  std::map<GgmlType, size_t> types;
  for (const auto& p : parameters(from.spec())) {
    auto values = values_of(p);
    const bool at_an_end = p.part == spec::Part::kTokens || p.part == spec::Part::kHead;
    const GgmlType type = p.shape.size() == 1 ? GgmlType::kF32
                          : at_an_end         ? expected.at_an_end
                                              : expected.others;
    ++types[type];
    const auto& layout = layout_of(type);
    std::vector<std::byte> blocks(values.size() / layout.block_elements * layout.block_bytes);
    kernels::quantize(type, values, blocks);
    kernels::dequantize(type, blocks, values);
    std::vector<float> read(values.size());
    weights->read(p.name, 0, read);
    EXPECT_EQ(read, values) << p.name << " " << layout.name;
  }
  EXPECT_EQ(exported.types, types);
}

std::string llama_of(int hidden, int intermediate) {
  return R"({"model_type":"llama","tie_word_embeddings":false,"vocab_size":97,"hidden_size":)" +
         std::to_string(hidden) + R"(,"intermediate_size":)" + std::to_string(intermediate) +
         R"(,"num_hidden_layers":1,"num_attention_heads":4,"num_key_value_heads":2})";
}

// What quantising alone makes of each matrix; embedding and head keep more bits.
TEST(ModelSource, AQuantisedGgufHasItsWeightsAsTheyAreRoundedAlone) {
  using enum GgmlType;
  for (const GgmlType type : {kQ4_0, kQ4_1, kQ5_0, kQ5_1, kQ8_0})
    expect_rounded_alone(llama_of(64, 96), {type, kQ8_0, type});
  for (const GgmlType type : {kQ4_K, kQ5_K, kQ6_K})
    expect_rounded_alone(llama_of(256, 512), {type, kQ6_K, type});
}

TEST(ModelSource, RowsThatAreNoMultiplesOf256HaveAnotherTypeOfAboutAsManyBits) {
  using enum GgmlType;
  expect_rounded_alone(llama_of(64, 96), {kQ4_K, kQ8_0, kQ4_1});
  expect_rounded_alone(llama_of(64, 96), {kQ5_K, kQ8_0, kQ5_1});
  expect_rounded_alone(llama_of(64, 96), {kQ6_K, kQ8_0, kQ8_0});
  // Some rows fit, and the others are counted: all but those of down, of 256.
  const Scratch scratch;
  write_folder(scratch.path() / "from", "", llama_of(64, 256));
  const auto exported =
      export_gguf(ModelSource(scratch.path() / "from"), scratch.path() / "out.gguf", kQ4_K);
  EXPECT_EQ(exported.types,
            (std::map<GgmlType, size_t>{{kF32, 3}, {kQ4_1, 6}, {kQ8_0, 2}, {kQ4_K, 1}}));
  EXPECT_EQ(exported.stand_ins, (std::map<GgmlType, size_t>{{kQ4_1, 6}, {kQ8_0, 2}}));
}

TEST(ModelSource, BlocksOfNumbersThatAreNoneAreRefused) {
  const Scratch scratch;
  write_folder(scratch.path() / "from", "", llama_of(256, 256));
  const fs::path weights = scratch.path() / "from" / "model.safetensors";
  std::string text = io::read_text(weights);
  const float bad = std::numeric_limits<float>::quiet_NaN();
  std::memcpy(text.data() + text.size() - 4 * 97 * 256 + 4 * 257, &bad, sizeof bad);  // of the head
  io::atomic_write(weights, text);
  const ModelSource from(scratch.path() / "from");
  for (const GgmlType type : {GgmlType::kQ4_K, GgmlType::kQ8_0}) {
    const auto line = error_line([&] { export_gguf(from, scratch.path() / "out.gguf", type); });
    EXPECT_NE(line.find("lm_head.weight"), std::string::npos) << line;
    EXPECT_NE(line.find("nan at element 257, which "), std::string::npos) << line;
  }
  EXPECT_FALSE(fs::exists(scratch.path() / "out.gguf"));
  export_gguf(from, scratch.path() / "plain.gguf", GgmlType::kF16);
}

TEST(ModelSource, ATypeWhoseBlocksDoNotFitNamesOneThatDoes) {
  const Scratch scratch;
  write_folder(scratch.path() / "from");
  const ModelSource from(scratch.path() / "from");
  const auto line =
      error_line([&] { export_gguf(from, scratch.path() / "out.gguf", GgmlType::kQ4_1); });
  EXPECT_NE(line.find("embed_tokens.weight has rows of 36, and Q4_1 wants multiples of 32"),
            std::string::npos)
      << line;
  EXPECT_NE(line.find("nearest type that fits is BF16"), std::string::npos) << line;
  const auto large =
      error_line([&] { export_gguf(from, scratch.path() / "out.gguf", GgmlType::kQ4_K); });
  EXPECT_NE(large.find("rows of 36, and Q4_K wants multiples of 32"), std::string::npos) << large;
}

TEST(ModelSource, AGgufThatCannotBeWrittenLeavesNothing) {
  const Scratch scratch;
  write_folder(scratch.path() / "model");
  const ModelSource source(scratch.path() / "model");
  const std::string text = io::read_text(scratch.path() / "model" / "model.safetensors");
  put(scratch.path() / "model" / "model.safetensors", text.substr(0, text.size() / 2));
  EXPECT_NE(error_line([&] { export_gguf(source, scratch.path() / "out.gguf", GgmlType::kF32); }),
            "");
  for (const auto& entry : fs::directory_iterator(scratch.path()))
    EXPECT_EQ(entry.path().filename(), "model");
}

TEST(ModelSource, SaysWhatIsNoModel) {
  const Scratch scratch;
  EXPECT_NE(error_line([&] { ModelSource(scratch.path() / "none"); }).find("no such"),
            std::string::npos);
  EXPECT_NE(error_line([&] { ModelSource source(scratch.path()); }).find("neither"),
            std::string::npos);
  io::atomic_write(scratch.path() / "text.gguf", "no GGUF at all");
  EXPECT_NE(error_line([&] { ModelSource(scratch.path() / "text.gguf"); }).find("no GGUF file"),
            std::string::npos);
}

TEST(ModelSource, AnIndexOfTorchFilesMustNotLeaveTheFolder) {
  const Scratch scratch;
  const fs::path folder = scratch.path() / "model";
  fs::create_directories(folder);
  io::atomic_write(folder / "config.json", kConfig);
  put(scratch.path() / "secret.bin", "secret");
  fs::create_symlink(scratch.path() / "secret.bin", folder / "link.bin");
  const auto index = folder / "pytorch_model.bin.index.json";
  put(index, R"({"weight_map": {"w": "../secret.bin"}})");
  EXPECT_NE(error_line([&] { ModelSource(folder).weights(); }).find("not a plain file name"),
            std::string::npos);
  put(index, R"({"weight_map": {"w": "link.bin"}})");
  EXPECT_NE(error_line([&] { ModelSource(folder).weights(); }).find("leads out of the folder"),
            std::string::npos);
}

TEST(ModelSource, AnExportThatFailsLeavesNothing) {
  const Scratch scratch;
  write_folder(scratch.path() / "model");
  io::atomic_write(scratch.path() / "model" / "config.json",
                   std::string(kConfig).replace(std::string(kConfig).find("97"), 2, "98"));
  const ModelSource source(scratch.path() / "model");
  EXPECT_NE(error_line([&] {
              export_model(source, scratch.path() / "out", DType::kF32);
            }).find("the model wants [98, 36]"),
            std::string::npos);
  EXPECT_FALSE(fs::exists(scratch.path() / "out"));
}

}  // namespace
}  // namespace hydrofoil::checkpoint::model_source_test
