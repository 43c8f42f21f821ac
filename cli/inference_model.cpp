// SPDX-License-Identifier: Apache-2.0
#include "cli/inference_model.h"

#include <algorithm>
#include <utility>

#include "cli/eval_options.h"
#include "cli/source_reader.h"

namespace hydrofoil::cli {
namespace {

// Where text ends, by the names that tokenizers give it.
std::vector<int32_t> end_tokens(const text::Tokenizer& tokenizer) {
  std::vector<int32_t> ids;
  for (const auto* name :
       {"<|endoftext|>", "</s>", "<|im_end|>", "<|end_of_text|>", "<|eot_id|>", "<end_of_turn>"})
    if (const auto id = tokenizer.id_of(name)) ids.push_back(*id);
  return ids;
}

}  // namespace

void add_inference_options(CLI::App* command, InferenceArguments& a) {
  auto& sampling = a.request.sampling;
  sampling.temperature = 0.8;
  add_model_options(command, a);
  add_packed_options(command, a.packed);
  command->add_option("--max-tokens", a.request.max_tokens, "tokens to generate at most")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 20))
      ->capture_default_str();
  command->add_option("--stop", a.request.stop, "text that ends the answer; may be given again")
      ->allow_extra_args(false);
  command->add_flag("--greedy", a.greedy, "always the most likely token");
  command->add_option("--temperature", sampling.temperature, "above 0: flatter choices as it grows")
      ->check(CLI::Range(0.0, 100.0))
      ->capture_default_str();
  command->add_option("--top-k", sampling.top_k, "choose among the k most likely; 0: all")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  command
      ->add_option("--top-p", sampling.top_p,
                   "choose among the fewest most likely that have this probability together")
      ->check(CLI::Range(0.0, 1.0))
      ->capture_default_str();
  command
      ->add_option("--min-p", sampling.min_p,
                   "choose among those with this share of the most likely one's probability")
      ->check(CLI::Range(0.0, 1.0))
      ->capture_default_str();
  command
      ->add_option("--typical-p", sampling.typical_p,
                   "choose among the most typical that have this probability together")
      ->check(CLI::Range(0.0, 1.0))
      ->capture_default_str();
  command
      ->add_option("--repetition-penalty", sampling.repetition_penalty,
                   "above 1: tokens of the text so far become less likely")
      ->check(CLI::Range(0.01, 100.0))
      ->capture_default_str();
  command->add_option("--seed", sampling.seed, "equal seeds give equal text")
      ->capture_default_str();
}

InferenceModel load_packed_model(const checkpoint::ModelSource& source, const ModelArguments& a,
                                 const PackedArguments& packed) {
  const int threads = threads_of(a);
  InferenceModel loaded{
      .tokenizer = tokenizer_of(source),
      .model = inference::pack_model(source.spec(), SourceReader(source.weights()),
                                     inference::kWeightTypes.at(packed.type)),
      .team = std::make_unique<inference::Team>(threads),
      .cache = inference::kCacheTypes.at(packed.cache),
      .chat_template = source.chat_template()};
  if (!loaded.chat_template) loaded.chat_template = text::usual_chat_template(loaded.tokenizer);
  return loaded;
}

InferenceModel load_inference_model(InferenceArguments& a) {
  InferenceModel loaded = load_packed_model(model_source(a), a, a.packed);
  a.request.stop_tokens = end_tokens(loaded.tokenizer);
  if (a.greedy) a.request.sampling.temperature = 0;
  return loaded;
}

inference::TextScore score_file(const InferenceModel& loaded, const std::string& text,
                                int64_t length) {
  const auto tokens = tokens_of_text(text, loaded.tokenizer);
  inference::Scorer scorer(loaded.model, loaded.cache, *loaded.team,
                           std::min(length, tokens.size()));
  return inference::score_text(scorer, tokens, length);
}

}  // namespace hydrofoil::cli
