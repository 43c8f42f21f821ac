// SPDX-License-Identifier: Apache-2.0
// What a run tells about itself, and the one interface that all listeners implement.
//
//   monitor::Reporters reporters;
//   reporters.add(monitor::make_progress());
//   reporters.add(std::make_unique<monitor::CsvFile>("runs/first/steps.csv", resumed_step));
//   reporters.report(monitor::StepRecord{.step = 1, .steps = 500, .loss = 3.2});
//
// A listener never stops a run: what it cannot write it warns about once. Rank 0 alone reports.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "hydrofoil/core/error.h"

namespace hydrofoil::monitor {

// In the order to be shown.
using NamedBytes = std::vector<std::pair<std::string, uint64_t>>;
using NamedSeconds = std::vector<std::pair<std::string, double>>;

// Of files: what this host's ranks moved in a step, and what its disk could have.
struct DiskRate {
  double bytes_per_second = 0, possible_bytes_per_second = 0;  // possible 0: not known
};

struct StepRecord {
  int64_t step = 0;     // optimizer steps finished, from 1
  int64_t steps = 0;    // of the whole run
  int64_t samples = 0;  // sequences consumed so far, by all ranks
  double loss = 0;
  double grad_norm = 0;  // before clipping
  double lr = 0;
  double tokens_per_second = 0;  // of all ranks
  double step_seconds = 0;
  std::optional<double> loss_scale = {};  // of a 16-bit run that has one
  std::optional<double> mfu = {};         // fraction of the machine's peak, where that is known
  NamedSeconds phase_seconds = {};        // this rank: where the step went
  NamedBytes wire_bytes = {};             // this step, by operation
  NamedBytes file_bytes = {};    // of a rank with state in files: since the last step ended, by use
  NamedBytes memory_bytes = {};  // this rank, by category, and "peak"
  std::optional<DiskRate> disk = {};    // where state lies in files
  NamedSeconds file_wait_seconds = {};  // of the step, this rank: stood still for files, by use
  bool skipped = false;                 // the update was not applied (overflow)
};

struct EvalRecord {
  int64_t step = 0, samples = 0;
  std::string name = {};                // the data file
  double loss = 0;                      // mean over tokens
  int64_t tokens = 0;                   // of classifiers: texts
  std::optional<double> accuracy = {};  // of classifiers
};

struct SavedRecord {
  int64_t step = 0;
  std::string checkpoint = {};  // folder
  double seconds = 0;           // until it was complete on the disk
  double waited_seconds = 0;    // of them training waited; the rest went on beside it
};

// One side of "predicted against measured".
struct RunFigures {
  NamedBytes memory_bytes = {}, wire_bytes = {}, file_bytes = {};  // a rank; wire, file: a step
  std::optional<double> step_seconds = {};
  std::optional<uint64_t> bytes_written = {};  // to disks, by all ranks in the whole run
};

struct EndRecord {
  int64_t steps = 0;
  std::string checkpoint = {};  // the last one; empty: none
  std::optional<RunFigures> predicted = {}, measured = {};
  std::optional<DiskRate> disk = {};  // the mean of the steps, where state lies in files
  std::string advice = {};            // then: what would help most
};

using Event = std::variant<StepRecord, EvalRecord, SavedRecord, EndRecord, Error>;

class Reporter {
 public:
  virtual ~Reporter() = default;
  virtual void report(const Event& event) = 0;
};

// Passes each event to several.
class Reporters : public Reporter {
 public:
  void add(std::unique_ptr<Reporter> reporter) { all_.push_back(std::move(reporter)); }
  void report(const Event& event) override;

 private:
  std::vector<std::unique_ptr<Reporter>> all_;
};

}  // namespace hydrofoil::monitor
