// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/plan/advice.h"

#include <algorithm>

#include "hydrofoil/monitor/format.h"

namespace hydrofoil::plan {
namespace {

constexpr double kSmall = 0.05;  // a wait not worth a setting, of the step
constexpr double kFull = 0.8;    // of what the disk could do: more buffers move nothing more

std::string percent(double share) {
  return monitor::print("%.0f %%", 100 * share);
}

std::string raise(const char* section, int64_t buffers) {
  return std::string("raise ") + section + ".buffer_count to " + std::to_string(buffers + 2);
}

}  // namespace

double FileSteps::wait_share() const {
  const double waits = update_wait_seconds + gradient_wait_seconds + parameter_wait_seconds;
  return step_seconds > 0 ? waits / step_seconds : 0;
}

std::string advice(const FileSteps& s) {
  const double share = s.wait_share();
  if (share < kSmall) return "compute-bound: files hold up " + percent(share) + " of a step";
  if (s.possible_bytes_per_second > 0 && s.bytes_per_second >= kFull * s.possible_bytes_per_second)
    return "disk-bound, waits " + percent(share) +
           ": raise train_micro_batch_size_per_gpu or gradient_accumulation_steps";
  const double most =
      std::max({s.update_wait_seconds, s.gradient_wait_seconds, s.parameter_wait_seconds});
  const std::string unknown =
      s.possible_bytes_per_second > 0 ? "" : "; plan --tune says what the disk could do";
  const bool parameters = most == s.parameter_wait_seconds;
  std::string text = parameters                      ? "waits for parameters "
                     : most == s.update_wait_seconds ? "waits for the update "
                                                     : "waits for gradients ";
  text += percent(most / s.step_seconds) + ": ";
  text += parameters ? raise("offload_param", s.parameter_buffers)
                     : raise("offload_optimizer", s.state_buffers);
  return text + unknown;
}

}  // namespace hydrofoil::plan
