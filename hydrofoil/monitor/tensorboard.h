// SPDX-License-Identifier: Apache-2.0
// The figures of a run as a TensorBoard event file, written without TensorFlow.
//
// A file is a sequence of records (length, masked CRC-32C of it, data, masked CRC-32C of that)
// whose data is an Event protocol buffer with one scalar. Tags are DeepSpeed's where it has them
// ("Train/Samples/train_loss"), and so is the step axis: samples consumed.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string_view>

#include "hydrofoil/monitor/line_file.h"
#include "hydrofoil/monitor/reporter.h"

namespace hydrofoil::monitor {

class TensorBoard : public Reporter {
 public:
  // A new file events.out.tfevents.* in `folder`, which is made. With the samples of a resumed run,
  // TensorBoard forgets what earlier files hold beyond them. Error(kError) when it cannot be made.
  TensorBoard(const std::filesystem::path& folder, std::optional<int64_t> resumed_samples);
  void report(const Event& event) override;

 private:
  void scalar(std::string_view tag, int64_t samples, double value);
  void step(const StepRecord& record);

  LineFile file_;
};

}  // namespace hydrofoil::monitor
