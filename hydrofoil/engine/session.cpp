// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/engine/session.h"

#include <algorithm>
#include <chrono>
#include <iterator>
#include <string>
#include <utility>

#include "hydrofoil/core/error.h"

namespace hydrofoil::engine {
namespace {

constexpr size_t kStepTokens = 256;  // of a prompt

using Clock = std::chrono::steady_clock;

double since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

}  // namespace

EngineOptions session_options(const spec::ModelSpec& spec, DType cache, int64_t positions) {
  const int64_t most = std::min(positions, inference::Runner::position_limit(spec));
  return {.cache = cache,
          .cache_pages = inference::KvCache::pages_for(most),
          .step_tokens = std::min(kStepTokens, static_cast<size_t>(most)),
          .sequences = 1};
}

uint64_t session_bytes(const inference::PackedModel& model, const inference::Team& team,
                       DType cache, int64_t positions) {
  return engine_bytes(model, team.size(), session_options(model.spec, cache, positions),
                      std::min(positions, inference::Runner::position_limit(model.spec)))
      .total();
}

Session::Session(const inference::PackedModel& model, inference::Team& team, DType cache,
                 int64_t positions, const text::Tokenizer* tokenizer)
    : engine_(model, team, session_options(model.spec, cache, positions), tokenizer) {}

Generated Session::generate(Request request, const OnToken& on_token) {
  const size_t prompt = request.prompt.size();
  Generated result;
  auto start = Clock::now();
  const uint64_t id = engine_.add(std::move(request));
  while (engine_.busy()) {
    for (Event& event : engine_.step()) {
      if (event.finish == Finish::kNumeric)
        throw Error(ExitCode::kNumeric,
                    "the logits after position " +
                        std::to_string(prompt + result.tokens.size() - 1) + " are not finite",
                    {}, "the weights are damaged or training has diverged");
      if (result.tokens.empty()) {
        result.prompt_seconds = since(start);
        start = Clock::now();
      }
      std::ranges::move(event.logits, std::back_inserter(result.logits));
      if (event.token) result.tokens.push_back(*event.token);
      result.finish = event.finish.value_or(Finish::kStop);
      if (on_token && !on_token(event)) engine_.cancel(id);
    }
  }
  result.seconds = since(start);
  return result;
}

}  // namespace hydrofoil::engine
