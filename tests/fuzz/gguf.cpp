// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/core/error.h"
#include "hydrofoil/io/gguf_writer.h"
#include "hydrofoil/spec/from_gguf.h"
#include "hydrofoil/spec/to_gguf.h"
#include "tests/fuzz/target.h"

namespace hydrofoil::fuzz {
namespace {

void check_header(const io::GgufHeader& header, uint64_t file_bytes) {
  std::vector<io::GgufTensorSpec> specs;
  for (const io::GgufTensor& tensor : header.tensors) {
    const auto bytes = io::gguf_tensor_bytes(tensor.shape, tensor.type);
    require(bytes && *bytes == tensor.bytes, "whole blocks");
    require(tensor.offset % header.alignment == 0, "aligned tensors");
    require(tensor.offset <= file_bytes && tensor.bytes <= file_bytes - tensor.offset,
            "tensors inside the file");
    specs.push_back({tensor.name, tensor.type, tensor.shape});
  }
  // What was read can be written, and is read again. An alignment of the file's own may be huge.
  if (header.alignment > 4096) return;
  io::GgufPlan plan = io::plan_gguf(header.metadata, specs);
  if (plan.file_bytes > 4 * file_bytes + 65536) return;
  plan.header.resize(plan.file_bytes);
  const auto again = io::parse_gguf(bytes_of(plan.header), "again");
  require(again.metadata.size() == header.metadata.size(), "metadata that comes back");
  require(again.tensors.size() == header.tensors.size(), "tensors that come back");
}

void run(const std::string& input) {
  io::GgufHeader header;
  try {
    header = io::parse_gguf(bytes_of(input), "f");
  } catch (const Error&) {
    return;
  }
  check_header(header, input.size());
  try {
    const spec::ModelSpec spec = spec::model_spec_from_gguf(header, "f");
    require(spec::parameter_count(spec) > 0, "parameters that can be counted");
  } catch (const Error&) {
  }
  try {
    const text::Tokenizer tokenizer(spec::tokenizer_spec_from_gguf(header, "f"));
    tokenizer.decode(tokenizer.encode("ab 12 ba\n", {.add_template = true}));
  } catch (const Error&) {
  }
}

std::string small_model() {
  const spec::ModelSpec spec = spec::model_spec_from_hf(
      R"({"model_type":"llama","vocab_size":5,"hidden_size":4,"intermediate_size":6,
          "num_hidden_layers":1,"num_attention_heads":2,"num_key_value_heads":1,
          "max_position_embeddings":8})",
      "seed");
  std::vector<io::GgufEntry> metadata = spec::gguf_metadata(spec, "seed");
  const auto put = [&](const char* key, io::GgufValue value) {
    metadata.push_back({std::string("tokenizer.ggml.") + key, std::move(value)});
  };
  put("model", io::gguf_text("gpt2"));
  put("pre", io::gguf_text("llama-bpe"));
  put("tokens", io::gguf_texts({"<s>", "a", "b", "ab", "\xC4\xA0"}));
  put("token_type", io::gguf_i32s(std::vector<int32_t>{3, 1, 1, 1, 1}));
  put("merges", io::gguf_texts({"a b"}));
  put("bos_token_id", io::gguf_u32(0));
  std::vector<io::GgufTensorSpec> tensors;
  for (const auto& weight : spec::gguf_weights(spec))
    tensors.push_back({weight.stored_name, GgmlType::kF32, weight.stored_shape()});
  io::GgufPlan plan = io::plan_gguf(metadata, tensors);
  plan.header.resize(plan.file_bytes);
  return plan.header;
}

std::vector<std::string> seeds() {
  return {read_seed("io/golden/kinds.gguf"), small_model()};
}

}  // namespace

const Target& gguf_target() {
  static const Target target{
      "gguf", run, seeds, {"GGUF", "general.alignment", "gpt2", "llama", "smollm", "qwen2"}};
  return target;
}

}  // namespace hydrofoil::fuzz
