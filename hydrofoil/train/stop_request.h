// SPDX-License-Identifier: Apache-2.0
// Ctrl-C and SIGTERM as wishes a training loop can follow: finish the step, save, leave.
#pragma once

#include <cstdint>

namespace hydrofoil::train {

enum class Stop : int64_t {
  kNone = 0,
  kInterrupt = 1,  // SIGINT: end after this step, exit 130
  kTerminate = 2,  // SIGTERM: end after this step, save, exit 75
};

// Listens while it lives, one at a time. A second SIGINT ends the process at once (128 + 2). Of
// several ranks one says that it has heard the first.
class StopRequest {
 public:
  explicit StopRequest(bool speaks = true);
  ~StopRequest();
  StopRequest(const StopRequest&) = delete;
  StopRequest& operator=(const StopRequest&) = delete;
  Stop seen() const;
  // Goes on listening to the end of the process: it has agreed with its peers to stop, and its own
  // copy of the signal may still be on its way. Killed by that, it would look like a failed rank.
  void keep() { keep_ = true; }

 private:
  bool keep_ = false;
};

}  // namespace hydrofoil::train
