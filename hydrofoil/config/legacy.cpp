// SPDX-License-Identifier: Apache-2.0
// Keys of older DeepSpeed files whose shape changed, rewritten to today's before reading.
#include "hydrofoil/config/deepspeed.h"

namespace hydrofoil::config {
namespace {

Value integer(int64_t i, const Place& place) {
  Value value;
  value.data = i;
  value.place = place;
  return value;
}

// zero_optimization: true is stage 1.
void expand_bool(Value& zero, Report& report, const std::string& path) {
  const Place place = zero.place;
  const int64_t stage = std::get<bool>(zero.data) ? 1 : 0;
  zero = make_object();
  zero.place = place;
  zero.set("stage", integer(stage, place));
  report.renamed[path + ".stage"] = "zero_optimization as true or false";
}

// cpu_offload: true is offload_optimizer: {"device": "cpu"}.
void expand_offload(Value& zero, Report& report, const std::string& path, const char* old_key,
                    const char* section) {
  const Value* old = zero.find(old_key);
  if (old == nullptr || !std::holds_alternative<bool>(old->data)) return;
  const Value taken = zero.take(old_key);
  if (!std::get<bool>(taken.data)) return;
  if (const Value* both = zero.find(section); both != nullptr && !both->is_null()) {
    report.add(quote_json(old_key) + " and " + quote_json(section) + " are the same key",
               taken.place, "first at " + both->place.text() + "; keep " + quote_json(section));
    return;
  }
  Value offload = make_object();
  offload.place = taken.place;
  offload.set("device", make_string("cpu", taken.place));
  zero.set(section, std::move(offload));
  report.renamed[joined(path, section) + ".device"] = old_key;
}

}  // namespace

void modernise(Value& document, Report& report, const std::string& path) {
  Value* zero = document.find("zero_optimization");
  if (zero == nullptr) return;
  const std::string zero_path = joined(path, "zero_optimization");
  if (std::holds_alternative<bool>(zero->data)) expand_bool(*zero, report, zero_path);
  if (!zero->is_object()) return;
  expand_offload(*zero, report, zero_path, "cpu_offload", "offload_optimizer");
  expand_offload(*zero, report, zero_path, "cpu_offload_param", "offload_param");
  expand_offload(*zero, report, zero_path, "cpu_offload_params", "offload_param");
}

}  // namespace hydrofoil::config
