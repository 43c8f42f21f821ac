// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/checkpoint/agreement.h"

#include <nlohmann/json.hpp>
#include <stdexcept>

#include "hydrofoil/core/error.h"

namespace hydrofoil::checkpoint {
namespace {

using Json = nlohmann::json;

// The first character says how a rank fared; what follows is its text or its failure.
constexpr char kDone = '+', kFailed = '-', kBroken = '!';

std::string failure(const std::string& message, const std::string& where = {},
                    const std::string& hint = {}) {
  return kFailed + Json{message, where, hint}.dump(-1, ' ', false, Json::error_handler_t::replace);
}

std::string outcome(const std::function<std::string()>& step) {
  try {
    return kDone + step();
  } catch (const std::logic_error& error) {
    return kBroken + std::string(error.what());
  } catch (const Error& error) {
    return failure(error.what(), error.where(), error.hint());
  } catch (const std::exception& error) {
    return failure(error.what());
  }
}

[[noreturn]] void rethrow(const std::string& text, size_t rank, int size) {
  if (text.front() == kBroken) throw std::logic_error(text.substr(1));
  const Json parts = Json::parse(text.substr(1));
  const std::string prefix = size > 1 ? "rank " + std::to_string(rank) + ": " : std::string();
  throw Error(ExitCode::kCheckpoint, prefix + parts[0].get<std::string>(),
              parts[1].get<std::string>(), parts[2].get<std::string>());
}

}  // namespace

std::vector<std::string> together(const comm::Communicator& group, std::string_view name,
                                  const std::function<std::string()>& step) {
  std::vector<std::string> texts =
      group.all_gather_text(outcome(step), {comm::Purpose::kCheckpoint, name});
  for (size_t rank = 0; rank < texts.size(); ++rank)
    if (texts[rank].front() != kDone) rethrow(texts[rank], rank, group.size());
  for (std::string& text : texts) text.erase(0, 1);
  return texts;
}

void as_checkpoint_errors(const std::function<void()>& body) {
  try {
    body();
  } catch (const Error& error) {
    if (error.code() == ExitCode::kCheckpoint) throw;
    throw Error(ExitCode::kCheckpoint, error.what(), error.where(), error.hint());
  }
}

}  // namespace hydrofoil::checkpoint
