// SPDX-License-Identifier: Apache-2.0
// A conversation in a terminal: one session, so that only what is new is computed.
#include "cli/chat_command.h"

#include <unistd.h>

#include <atomic>
#include <csignal>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>

#include "cli/inference_model.h"
#include "hydrofoil/core/error.h"
#include "hydrofoil/engine/session.h"

namespace hydrofoil::cli {
namespace {

struct ChatArguments : InferenceArguments {
  std::string system;
};

const text::ChatTemplateSpec& template_of(const InferenceModel& loaded) {
  if (loaded.chat_template) return *loaded.chat_template;
  throw Error(
      ExitCode::kConfig,
      "the model has no chat template, and its tokenizer no marks for turns of a conversation", {},
      "take a model that was tuned for chat, or continue a text with generate");
}

std::atomic<bool> g_interrupted{false};

// Ctrl-C ends the answer that is being written; at the prompt, the program.
class AnswerInterrupt {
 public:
  AnswerInterrupt() : before_(std::signal(SIGINT, [](int) { g_interrupted = true; })) {
    g_interrupted = false;
  }
  ~AnswerInterrupt() { std::signal(SIGINT, before_); }
  AnswerInterrupt(const AnswerInterrupt&) = delete;
  AnswerInterrupt& operator=(const AnswerInterrupt&) = delete;

 private:
  void (*before_)(int);
};

constexpr int64_t kLeastPositions = 512;  // fewer are no conversation

class Chat {
 public:
  explicit Chat(ChatArguments arguments)
      : arguments_(std::move(arguments)),
        loaded_(open_inference_model(arguments_)),
        template_(template_of(loaded_)),
        people_(isatty(STDIN_FILENO) == 1) {
    while (positions_ > kLeastPositions && !has_room(positions_)) positions_ /= 2;
    load_weights(loaded_, session_bytes(positions_));
    clear();
  }

  int run() {
    if (people_) std::cerr << "/clear forgets, /help explains, Ctrl-D ends\n";
    for (std::string line; read(line);) {
      if (line.empty()) continue;
      if (line == "/exit") break;
      if (line == "/clear") {
        clear();
      } else if (line.starts_with("/")) {
        std::cerr << "/clear: a new conversation\n/exit or Ctrl-D: the end\n"
                     "Ctrl-C ends an answer\n";
      } else {
        answer(line);
      }
    }
    return 0;
  }

 private:
  uint64_t session_bytes(int64_t positions) const {
    return engine::session_bytes(loaded_.model, *loaded_.team, loaded_.cache, positions);
  }
  // Under a cap a conversation is as long as fits beside layers that are all streamed.
  bool has_room(int64_t positions) const {
    const uint64_t bytes = session_bytes(positions);
    return loaded_.memory_cap == 0 || bytes <= bytes_beside_weights(loaded_, bytes);
  }

  bool read(std::string& line) const {
    if (people_) std::cerr << "> ";
    return static_cast<bool>(std::getline(std::cin, line));
  }

  void clear() {
    session_.emplace(loaded_.model, *loaded_.team, loaded_.cache, positions_, &loaded_.tokenizer);
    messages_ = nlohmann::ordered_json::array();
    if (!arguments_.system.empty()) add("system", arguments_.system);
  }

  void add(const std::string& role, const std::string& text) {
    messages_.push_back({{"role", role}, {"content", text}});
  }

  void answer(const std::string& question) {
    add("user", question);
    auto request = arguments_.request;
    request.prompt = loaded_.tokenizer.encode(template_.render(messages_));
    if (session_->positions() <= static_cast<int64_t>(request.prompt.size())) {
      std::cerr << "the conversation has reached its " << session_->positions()
                << " positions: /clear begins a new one\n";
      messages_.erase(messages_.size() - 1);
      return;
    }
    std::string text;
    const AnswerInterrupt interrupt;
    const auto out = session_->generate(std::move(request), [&](const engine::Event& event) {
      text += event.text;
      std::cout << event.text << std::flush;
      return std::cout.good() && !g_interrupted;
    });
    std::cout << "\n" << std::flush;
    add("assistant", text);
    if (people_ && !out.tokens.empty())
      std::cerr << "(" << out.tokens.size() << " tokens, "
                << static_cast<int>(static_cast<double>(out.tokens.size()) / out.seconds)
                << " a second, the first after " << static_cast<int>(1e3 * out.prompt_seconds)
                << " ms)\n";
  }

  ChatArguments arguments_;
  InferenceModel loaded_;
  const text::ChatTemplate template_;
  const bool people_;
  int64_t positions_ = inference::Runner::position_limit(loaded_.model.spec);
  std::optional<engine::Session> session_;
  nlohmann::ordered_json messages_;
};

}  // namespace

void add_chat_command(CLI::App& app, Action& action) {
  auto* command = app.add_subcommand("chat", "Talk with a model in the terminal");
  auto arguments = std::make_shared<ChatArguments>();
  arguments->request.max_tokens = 1024;
  add_inference_options(command, *arguments);
  command->add_option("--system", arguments->system,
                      "what the model is told before the conversation");
  command->footer(
      "Examples:\n  hydrofoil chat SmolLM2-135M-Instruct.gguf\n"
      "  hydrofoil chat models/Qwen2.5-0.5B-Instruct --type q8_0 --system 'Answer in one "
      "sentence.'\n"
      "  echo 'What is the capital of France?' | hydrofoil chat model.gguf --greedy");
  command->callback(
      [&action, arguments] { action = [arguments] { return Chat(*arguments).run(); }; });
}

}  // namespace hydrofoil::cli
