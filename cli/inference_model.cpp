// SPDX-License-Identifier: Apache-2.0
#include "cli/inference_model.h"

#include <algorithm>
#include <utility>

#include "cli/eval_options.h"
#include "cli/source_reader.h"
#include "hydrofoil/core/error.h"
#include "hydrofoil/core/host.h"
#include "hydrofoil/core/log.h"
#include "hydrofoil/io/file.h"
#include "hydrofoil/monitor/format.h"
#include "hydrofoil/plan/serving.h"

namespace hydrofoil::cli {
namespace {

constexpr uint64_t kMiB = uint64_t{1} << 20;

// Where text ends, by the names that tokenizers give it.
std::vector<int32_t> end_tokens(const text::Tokenizer& tokenizer) {
  std::vector<int32_t> ids;
  for (const auto* name :
       {"<|endoftext|>", "</s>", "<|im_end|>", "<|end_of_text|>", "<|eot_id|>", "<end_of_turn>"})
    if (const auto id = tokenizer.id_of(name)) ids.push_back(*id);
  return ids;
}

// Of this process, with the tokenizer.
uint64_t program_bytes() {
  return host::process_memory().rss_bytes;
}

uint64_t left_of(uint64_t cap, uint64_t taken) {
  return cap > taken ? cap - taken : 0;
}

Error too_small(const InferenceModel& m, uint64_t taken) {
  const uint64_t least = inference::least_residency(m.model).memory_bytes;
  const uint64_t mib = (taken + least) / kMiB + 1;
  return Error(ExitCode::kDoesNotFit,
               "with one layer at a time the weights take " + monitor::human_bytes(least) +
                   " beside " + monitor::human_bytes(taken) + " of the program, keys and values; " +
                   monitor::human_bytes(m.memory_cap) + " are allowed",
               "--memory-cap", "--memory-cap " + std::to_string(mib) + "MiB is the least");
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

InferenceModel open_packed_model(const checkpoint::ModelSource& source, const ModelArguments& a,
                                 const PackedArguments& packed) {
  const int threads = threads_of(a);
  auto reader = std::make_unique<SourceReader>(source.weights());
  const auto type = inference::kWeightTypes.at(packed.type);
  InferenceModel opened{.tokenizer = tokenizer_of(source),
                        .model = inference::outline_model(source.spec(), *reader, type),
                        .team = std::make_unique<inference::Team>(threads),
                        .cache = inference::kCacheTypes.at(packed.cache),
                        .chat_template = source.chat_template(),
                        .reader = std::move(reader),
                        .type = type,
                        .memory_cap = packed.memory_cap,
                        .folder = stream_folder(packed, source.path())};
  if (!opened.chat_template) opened.chat_template = text::usual_chat_template(opened.tokenizer);
  return opened;
}

InferenceModel open_inference_model(InferenceArguments& a) {
  InferenceModel opened = open_packed_model(model_source(a), a, a.packed);
  a.request.stop_tokens = end_tokens(opened.tokenizer);
  if (a.greedy) a.request.sampling.temperature = 0;
  return opened;
}

inference::Residency residency_beside(const InferenceModel& m, uint64_t beside_bytes) {
  if (m.memory_cap == 0) return {};
  const uint64_t taken = program_bytes() + std::max<uint64_t>(beside_bytes, m.model.packing_bytes);
  const auto residency = inference::residency_within(m.model, left_of(m.memory_cap, taken));
  if (!residency) throw too_small(m, taken);
  return *residency;
}

uint64_t bytes_beside_weights(const InferenceModel& opened, uint64_t wanted) {
  uint64_t left = 0;
  for (const size_t buffers : {2, 1}) {
    left =
        left_of(opened.memory_cap,
                program_bytes() + inference::least_residency(opened.model, buffers).memory_bytes);
    if (left >= wanted) break;
  }
  return left;
}

void load_weights(InferenceModel& m, uint64_t beside_bytes) {
  const inference::Streaming streaming{.residency = residency_beside(m, beside_bytes),
                                       .folder = m.folder};
  if (streaming.residency.streamed > 0) {
    log::info(plan::streaming_text(streaming.residency));
    if (const auto kind = io::not_a_local_disk(m.folder); !kind.empty())
      log::warn(m.folder.string() + " is on " + std::string(kind) +
                ": --stream-folder names a folder of a disk");
  }
  m.model = inference::pack_model(m.model.spec, *m.reader, m.type, streaming);
  m.reader.reset();
}

inference::Scorer load_scorer(InferenceModel& opened, int64_t positions) {
  load_weights(
      opened, inference::Scorer::bytes_of(opened.model, opened.cache, opened.threads(), positions));
  return {opened.model, opened.cache, *opened.team, positions};
}

inference::TextScore score_file(InferenceModel& opened, const std::string& text, int64_t length) {
  const auto tokens = tokens_of_text(text, opened.tokenizer);
  const int64_t positions = std::min(length, tokens.size());
  auto scorer = load_scorer(opened, positions);
  return inference::score_text(scorer, tokens, length);
}

}  // namespace hydrofoil::cli
