// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/monitor/json_lines.h"

#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <string_view>
#include <utility>

#include "hydrofoil/monitor/format.h"

namespace hydrofoil::monitor {
namespace {

// Appends members in call order.
class Object {
 public:
  Object& raw(std::string_view name, std::string_view json) {
    text_ += text_.size() > 1 ? "," : "";
    text_ += quoted(name) + ":";
    text_ += json;
    return *this;
  }
  Object& text(std::string_view name, std::string_view value) { return raw(name, quoted(value)); }
  Object& number(std::string_view name, double value) {
    return raw(name, std::isfinite(value) ? exact(value) : "null");
  }
  Object& whole(std::string_view name, int64_t value) { return raw(name, std::to_string(value)); }
  Object& bytes(std::string_view name, const NamedBytes& values) {
    Object inner;
    for (const auto& [key, value] : values) inner.raw(key, std::to_string(value));
    return raw(name, inner.take());
  }
  Object& seconds(std::string_view name, const NamedSeconds& values) {
    Object inner;
    for (const auto& [key, value] : values) inner.number(key, value);
    return raw(name, inner.take());
  }
  std::string take() { return text_ + "}"; }

 private:
  std::string text_ = "{";
};

std::string rate(const DiskRate& disk) {
  Object object;
  object.number("bytes_per_second", disk.bytes_per_second);
  if (disk.possible_bytes_per_second > 0)
    object.number("possible_bytes_per_second", disk.possible_bytes_per_second);
  return object.take();
}

std::string figures(const RunFigures& run) {
  Object object;
  object.bytes("memory_bytes", run.memory_bytes).bytes("wire_bytes", run.wire_bytes);
  if (!run.file_bytes.empty()) object.bytes("file_bytes", run.file_bytes);
  if (run.bytes_written) object.raw("bytes_written", std::to_string(*run.bytes_written));
  if (run.step_seconds) object.number("step_seconds", *run.step_seconds);
  return object.take();
}

struct Writer {
  std::string operator()(const StepRecord& r) const {
    Object object;
    object.text("event", "step").whole("step", r.step).whole("steps", r.steps);
    object.whole("samples", r.samples);
    object.number("loss", r.loss).number("grad_norm", r.grad_norm).number("lr", r.lr);
    object.number("tokens_per_second", r.tokens_per_second).number("step_seconds", r.step_seconds);
    if (r.loss_scale) object.number("loss_scale", *r.loss_scale);
    if (r.mfu) object.number("mfu", *r.mfu);
    if (!r.phase_seconds.empty()) object.seconds("phase_seconds", r.phase_seconds);
    object.bytes("wire_bytes", r.wire_bytes).bytes("memory_bytes", r.memory_bytes);
    if (!r.file_bytes.empty()) object.bytes("file_bytes", r.file_bytes);
    if (r.disk) object.raw("disk", rate(*r.disk)).seconds("file_wait_seconds", r.file_wait_seconds);
    return object.raw("skipped", r.skipped ? "true" : "false").take();
  }
  std::string operator()(const EvalRecord& r) const {
    Object object;
    object.text("event", "eval").whole("step", r.step).text("name", r.name);
    object.number("loss", r.loss).number("perplexity", std::exp(r.loss));
    if (r.accuracy) object.number("accuracy", *r.accuracy);
    return object.whole("tokens", r.tokens).take();
  }
  std::string operator()(const SavedRecord& r) const {
    Object object;
    object.text("event", "saved").whole("step", r.step);
    object.text("checkpoint", r.checkpoint).number("seconds", r.seconds);
    return object.number("waited_seconds", r.waited_seconds).take();
  }
  std::string operator()(const EndRecord& r) const {
    Object object;
    object.text("event", "end").whole("steps", r.steps);
    object.raw("checkpoint", r.checkpoint.empty() ? "null" : quoted(r.checkpoint));
    if (r.predicted) object.raw("predicted", figures(*r.predicted));
    if (r.measured) object.raw("measured", figures(*r.measured));
    if (r.disk) object.raw("disk", rate(*r.disk)).text("advice", r.advice);
    return object.take();
  }
  std::string operator()(const Error& e) const {
    Object object;
    object.text("event", "error").whole("code", static_cast<int>(e.code()));
    return object.text("message", e.what()).text("where", e.where()).text("hint", e.hint()).take();
  }
};

// The step of one of our own lines; lines without one (end, error) belong to what stands before.
int64_t step_of(std::string_view line) {
  constexpr std::string_view kKey = "\"step\":";  // inside a string its quotes would be escaped
  const size_t at = line.find(kKey);
  int64_t step = std::numeric_limits<int64_t>::min();
  if (at != line.npos)
    std::from_chars(line.data() + at + kKey.size(), line.data() + line.size(), step);
  return step;
}

}  // namespace

std::string to_json(const Event& event) {
  return std::visit(Writer{}, event);
}

std::unique_ptr<Reporter> json_lines_on_stdout() {
  return std::make_unique<JsonLines>(LineFile::of_descriptor(STDOUT_FILENO, "standard output"));
}

std::unique_ptr<Reporter> json_lines_file(const std::string& path,
                                          std::optional<int64_t> resumed_step) {
  if (!resumed_step) return std::make_unique<JsonLines>(LineFile::create(path));
  return std::make_unique<JsonLines>(LineFile::resume(
      path, [&](std::string_view line) { return step_of(line) <= *resumed_step; }));
}

}  // namespace hydrofoil::monitor
