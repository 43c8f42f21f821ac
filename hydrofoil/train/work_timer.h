// SPDX-License-Identifier: Apache-2.0
// Where the time of a step goes, by kind of work: what libtorch's operators of this thread take,
// told by its RecordFunction.
#pragma once

#include <ATen/record_function.h>

#include <array>
#include <chrono>
#include <cstdint>
#include <string_view>
#include <vector>

namespace hydrofoil::train {

enum class Work : uint8_t {
  kForwardProducts,
  kBackwardProducts,
  kAttention,
  kPointwise,  // norms, activations, rotations
  kLoss,       // with the head's products
  kGradients,  // brought to their place, and reduced
  kUpdate,     // with what is gathered after it
  kOther,
};
constexpr size_t kWorks = 8;
std::string_view name_of(Work work);  // "forward products", ..

// Of an operator or a node of autograd by its name, within work of the kind `inside`: what has no
// kind of its own (a sum, a copy) is part of what called it.
Work work_of(std::string_view name, Work inside, bool backward);

// Counts while it lives. One a thread; operators get slower by about a microsecond.
class WorkTimer {
 public:
  WorkTimer();
  ~WorkTimer();
  WorkTimer(const WorkTimer&) = delete;
  WorkTimer& operator=(const WorkTimer&) = delete;

  // Seconds by Work, without what operators inside took; kUpdate and kOther are the caller's.
  const std::array<double, kWorks>& seconds() const { return seconds_; }

  void begin(const at::RecordFunction& function);
  void end();

 private:
  using Clock = std::chrono::steady_clock;
  struct Running {
    Work work;
    bool backward;
    Clock::time_point since;
    double inside = 0;  // seconds of what it called
  };
  std::vector<Running> running_;
  std::array<double, kWorks> seconds_{};
  at::CallbackHandle handle_;
};

}  // namespace hydrofoil::train
