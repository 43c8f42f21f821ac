// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/models/generate.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <string>

#include "hydrofoil/core/error.h"
#include "hydrofoil/core/random.h"

namespace hydrofoil::models {
namespace {

void check_prompt(std::span<const int64_t> prompt, const spec::ModelSpec& spec) {
  if (prompt.empty()) throw Error(ExitCode::kData, "the prompt has no tokens");
  const auto size = static_cast<int64_t>(prompt.size());
  if (size > spec.position_limit())
    throw Error(ExitCode::kData, "the prompt has " + std::to_string(size) +
                                     " tokens, but the model has positions for " +
                                     std::to_string(spec.position_limit()));
  for (const auto token : prompt)
    if (token < 0 || token >= spec.vocab_size)
      throw Error(ExitCode::kData,
                  "token " + std::to_string(token) +
                      " of the prompt is outside the vocabulary of " +
                      std::to_string(spec.vocab_size),
                  {}, "was it made with another tokenizer?");
}

at::Tensor to_batch(std::span<const int64_t> tokens, const at::Tensor& like) {
  auto tensor =
      at::empty({1, static_cast<int64_t>(tokens.size())}, at::TensorOptions().dtype(at::kLong));
  std::copy(tokens.begin(), tokens.end(), tensor.mutable_data_ptr<int64_t>());
  return tensor.to(like.device());
}

// The k largest of a row, largest first, ties to the smaller token.
std::vector<TokenLogit> largest(std::span<const float> row, int64_t k) {
  std::vector<int64_t> order(row.size());
  std::iota(order.begin(), order.end(), 0);
  const auto count = std::min<size_t>(static_cast<size_t>(k), row.size());
  std::partial_sort(
      order.begin(), order.begin() + static_cast<ptrdiff_t>(count), order.end(),
      [&](int64_t a, int64_t b) { return row[a] != row[b] ? row[a] > row[b] : a < b; });
  std::vector<TokenLogit> result(count);
  for (size_t i = 0; i < count; ++i) result[i] = {order[i], row[order[i]]};
  return result;
}

void check_finite(std::span<const float> row, int64_t position) {
  if (!std::all_of(row.begin(), row.end(), [](float x) { return std::isfinite(x); }))
    throw Error(ExitCode::kNumeric,
                "the logits after position " + std::to_string(position) + " are not finite", {},
                "the weights are damaged or training has diverged");
}

int64_t choose(std::span<const float> row, const GenerateOptions& options, uint64_t step) {
  if (options.temperature <= 0) return std::max_element(row.begin(), row.end()) - row.begin();
  const auto candidates =
      largest(row, options.top_k > 0 ? options.top_k : static_cast<int64_t>(row.size()));
  std::vector<double> upto(candidates.size());  // cumulative weights
  double total = 0;
  for (size_t i = 0; i < candidates.size(); ++i)
    upto[i] = total +=
        std::exp((double{candidates[i].logit} - candidates[0].logit) / options.temperature);
  const double point = Philox(options.seed, RandomUse::kSample).uniform(step) * total;
  const auto hit = std::upper_bound(upto.begin(), upto.end(), point) - upto.begin();
  return candidates[std::min<size_t>(hit, candidates.size() - 1)].token;
}

}  // namespace

Generated generate(const Decoder& model, std::span<const int64_t> prompt,
                   const GenerateOptions& options) {
  check_prompt(prompt, model.spec());
  at::NoGradGuard no_grad;
  Generated result;
  std::vector<KeyValues> cache;
  std::vector<int64_t> input(prompt.begin(), prompt.end());
  const auto room = std::min(options.max_tokens,
                             model.spec().position_limit() - static_cast<int64_t>(prompt.size()));
  int64_t position = -1;
  while (static_cast<int64_t>(result.tokens.size()) < room) {
    auto hidden = model.forward_cached(to_batch(input, model.parameters(0)[0].tensor), cache)[0];
    if (options.logits == 0) hidden = hidden.narrow(0, hidden.size(0) - 1, 1);
    const auto logits = model.logits(hidden).to(at::kFloat).cpu().contiguous();  // [n, V]
    const auto width = static_cast<size_t>(logits.size(1));
    std::span<const float> row;
    position += static_cast<int64_t>(input.size()) - logits.size(0);
    for (int64_t i = 0; i < logits.size(0); ++i) {
      row = {logits.const_data_ptr<float>() + static_cast<size_t>(i) * width, width};
      check_finite(row, ++position);
      if (options.logits > 0) result.logits.push_back(largest(row, options.logits));
    }
    const int64_t token = choose(row, options, result.tokens.size());
    if (std::ranges::find(options.stop_tokens, token) != options.stop_tokens.end()) {
      result.finish = Finish::kStop;
      break;
    }
    result.tokens.push_back(token);
    input = {token};
  }
  return result;
}

}  // namespace hydrofoil::models
