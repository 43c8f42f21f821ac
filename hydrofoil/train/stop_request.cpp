// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/train/stop_request.h"

#include <unistd.h>

#include <csignal>

namespace hydrofoil::train {
namespace {

// Signals belong to the process: so does their record.
volatile std::sig_atomic_t interrupted = 0, terminated = 0, speaking = 0;

void on_signal(int signal) {
  if (signal == SIGTERM) {
    terminated = 1;
    return;
  }
  if (interrupted) _exit(128 + SIGINT);
  interrupted = 1;
  if (!speaking) return;
  constexpr char kText[] = "\nhydrofoil: stopping after this step; Ctrl-C again stops at once\n";
  [[maybe_unused]] const auto written = write(STDERR_FILENO, kText, sizeof kText - 1);
}

void handle(int signal, void (*handler)(int)) {
  struct sigaction action = {};
  action.sa_handler = handler;
  action.sa_flags = SA_RESTART;
  sigaction(signal, &action, nullptr);
}

}  // namespace

StopRequest::StopRequest(bool speaks) {
  interrupted = 0;
  terminated = 0;
  speaking = speaks;
  handle(SIGINT, on_signal);
  handle(SIGTERM, on_signal);
}

StopRequest::~StopRequest() {
  if (keep_) return;
  handle(SIGINT, SIG_DFL);
  handle(SIGTERM, SIG_DFL);
}

Stop StopRequest::seen() const {
  return terminated ? Stop::kTerminate : interrupted ? Stop::kInterrupt : Stop::kNone;
}

}  // namespace hydrofoil::train
