// SPDX-License-Identifier: Apache-2.0
// The newest figures of a run in Prometheus' text format, as a file for the textfile collector of
// its node exporter: no port to open and to protect on a compute node, nothing to scrape between
// jobs.
#pragma once

#include <map>
#include <string>

#include "hydrofoil/monitor/reporter.h"

namespace hydrofoil::monitor {

class Prometheus : public Reporter {
 public:
  // `run` becomes a label of every metric. The file is replaced whole after every step.
  Prometheus(std::string path, std::string run);
  void report(const Event& event) override;

 private:
  struct Metric {
    const char* type;
    const char* help;
    std::map<std::string, double> values;  // by further labels, "" or ",name=\"value\""
  };
  void set(const std::string& name, Metric metric);
  void step(const StepRecord& record);
  void write();

  const std::string path_, run_;
  std::map<std::string, Metric> metrics_;
  bool warned_ = false;
};

}  // namespace hydrofoil::monitor
