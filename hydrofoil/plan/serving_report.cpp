// SPDX-License-Identifier: Apache-2.0
#include <nlohmann/json.hpp>

#include "hydrofoil/monitor/format.h"
#include "hydrofoil/plan/report_text.h"
#include "hydrofoil/plan/serving.h"

namespace hydrofoil::plan {
namespace {

using monitor::human_bytes;
using monitor::human_count;

std::string texts(int64_t count) {
  return std::to_string(count) + (count == 1 ? " text" : " texts");
}

std::string serving_heading(const ServingPlan& p) {
  return p.family + ": " + human_count(static_cast<double>(p.parameters)) + " parameters (" +
         std::to_string(p.parameters) + "), weights " + p.serving.type + ", keys and values " +
         p.serving.cache + "\n" + texts(p.serving.batch) + " at a time of " +
         std::to_string(p.serving.context) + " positions, of the model's " +
         std::to_string(p.position_limit) + "\n";
}

std::string serving_memory(const ServingPlan& p) {
  const auto& [weights, residency, packing, engine, runtime] = p.memory;
  std::string text = "\nmemory\n";
  text += row("embedding", weights.embedding, weights.head == 0 ? "the head, too" : "");
  text += row("attention", weights.attention);
  text += row("feed-forward", weights.feed_forward);
  if (weights.head > 0) text += row("head", weights.head);
  text += row("other weights", weights.rest, "norms, biases, positions");
  text += row("weights", weights.total());
  if (p.streams())
    text += row("of these in memory", residency.memory_bytes,
                "with " + std::to_string(residency.buffers) + " buffers of " +
                    human_bytes(residency.buffer_bytes));
  text += row("keys and values", engine.cache,
              human_bytes(p.position_bytes) + " a position (" + std::to_string(p.position_bytes) +
                  " bytes)");
  text += row("a step", engine.scratch, "buffers, logits, tables of positions");
  text += row("pages", engine.pages, "who holds what of the cache");
  text += row("program", runtime, "with the tokenizer");
  if (packing > engine.total())
    text += row("while packing", packing, "in place of keys, values, step and pages");
  text += row("in all", p.memory.total());
  text += row("usable", p.usable_bytes,
              !p.fits()     ? "IT DOES NOT FIT"
              : p.streams() ? "it fits, by streaming"
                            : "it fits");
  if (p.streams()) text += "  " + streaming_text(residency) + "\n";
  if (p.window_layers > 0)
    text += "  " + std::to_string(p.window_layers) + " layers look back " +
            std::to_string(p.window) + " positions: fewer are read, all are kept\n";
  return text;
}

std::string words_of(const ServingCure& cure) {
  std::string words;
  for (const auto& option : cure.options) words.append(words.empty() ? "" : " ").append(option);
  return words;
}

std::string limits_text(const ServingPlan& p) {
  std::string text = "\nthat fits\n";
  text += row("largest context", std::to_string(p.largest_context),
              "positions, " + texts(p.serving.batch));
  text += row("largest batch", std::to_string(p.largest_batch),
              "texts of " + std::to_string(p.serving.context) + " positions");
  if (p.fits() && !p.streams()) return text;
  if (!p.cure)
    return text + "\nno type of weights, keys and values, context or batch makes it fit" +
           (p.streams() ? " without streaming\n" : "\n");
  return text + "\nthe smallest change that fits " + (p.streams() ? "without streaming (" : "(") +
         human_bytes(p.cure->total_bytes) + "):\n  " + words_of(*p.cure) + "\n";
}

std::string ceilings_text(const ServingPlan& p) {
  if (p.decode.empty())
    return "\nno ceilings of speed: --tune measures this machine, --memory-gbps and --gflops say "
           "it\n";
  const auto rate = [](const char* what, double value, const char* unit) {
    return value > 0 ? what + monitor::print(" %.4g ", value / 1e9) + unit : std::string();
  };
  std::string text =
      "\ntokens/s at most" + rate(", reading", p.speed.read_bytes_per_second, "GB/s") +
      rate(", computing", p.speed.flops_per_second, "GFLOPS") +
      (p.streams() ? rate(", streaming", p.speed.disk_bytes_per_second, "GB/s") : "") + "\n";
  for (const auto& ceiling : p.decode)
    text += row("decoding, " + texts(ceiling.batch), monitor::print("%.1f", ceiling.first),
                monitor::print("%.1f with a full context", ceiling.last) + ", limited by " +
                    std::string(ceiling.limit));
  return text + row("a prompt", monitor::print("%.1f", p.prefill),
                    "of " + std::to_string(p.serving.context) + " tokens");
}

using Json = nlohmann::ordered_json;

Json json_of(const ServingCure& cure) {
  return {{"options", cure.options},     {"type", cure.serving.type},
          {"kv", cure.serving.cache},    {"context", cure.serving.context},
          {"batch", cure.serving.batch}, {"total_bytes", cure.total_bytes}};
}

Json json_of(const ServingMemory& m) {
  return {{"weights",
           {{"embedding", m.weights.embedding},
            {"attention", m.weights.attention},
            {"feed_forward", m.weights.feed_forward},
            {"head", m.weights.head},
            {"other", m.weights.rest},
            {"total", m.weights.total()}}},
          {"keys_and_values", m.engine.cache},
          {"step", m.engine.scratch},
          {"pages", m.engine.pages},
          {"program", m.runtime},
          {"packing", m.packing},
          {"weights_in_memory", m.residency.memory_bytes},
          {"total", m.total()}};
}

Json json_of(const inference::Residency& r) {
  return {{"layers", r.layers},
          {"streamed_layers", r.streamed},
          {"buffers", r.buffers},
          {"buffer_bytes", r.buffer_bytes},
          {"pass_bytes", r.pass_bytes}};
}

Json ceilings_json(const ServingPlan& p) {
  Json decode = Json::array();
  for (const auto& [batch, first, last, limit] : p.decode)
    decode.push_back(
        {{"batch", batch}, {"first", first}, {"full_context", last}, {"limit", limit}});
  return {{"read_bytes_per_second", p.speed.read_bytes_per_second},
          {"flops_per_second", p.speed.flops_per_second},
          {"disk_bytes_per_second", p.speed.disk_bytes_per_second},
          {"decode_tokens_per_second", std::move(decode)},
          {"prompt_tokens_per_second", p.prefill}};
}

}  // namespace

std::string streaming_text(const inference::Residency& r) {
  return std::to_string(r.streamed) + " of " + std::to_string(r.layers) +
         " layers are read from disk for every step: " + human_bytes(r.pass_bytes);
}

std::string to_text(const ServingPlan& plan) {
  return serving_heading(plan) + serving_memory(plan) + limits_text(plan) + ceilings_text(plan);
}

std::string to_json(const ServingPlan& p) {
  Json json{{"family", p.family},
            {"parameters", p.parameters},
            {"type", p.serving.type},
            {"kv", p.serving.cache},
            {"context", p.serving.context},
            {"batch", p.serving.batch},
            {"position_limit", p.position_limit},
            {"position_bytes", p.position_bytes},
            {"memory_bytes", json_of(p.memory)},
            {"usable_bytes", p.usable_bytes},
            {"fits", p.fits()},
            {"streaming", nullptr},
            {"largest_context", p.largest_context},
            {"largest_batch", p.largest_batch},
            {"cure", nullptr},
            {"ceilings", nullptr}};
  if (p.streams()) json["streaming"] = json_of(p.memory.residency);
  if (p.window_layers > 0)
    json["sliding_window"] = {{"positions", p.window}, {"layers", p.window_layers}};
  if (p.cure) json["cure"] = json_of(*p.cure);
  if (!p.decode.empty()) json["ceilings"] = ceilings_json(p);
  return json.dump();
}

std::optional<Error> refusal(const ServingPlan& plan) {
  if (plan.fits()) return {};
  return Error(ExitCode::kDoesNotFit,
               "serving needs " + human_bytes(plan.memory.total()) + ", and " +
                   human_bytes(plan.usable_bytes) + " are usable",
               "memory", plan.cure ? words_of(*plan.cure) : std::string());
}

}  // namespace hydrofoil::plan
