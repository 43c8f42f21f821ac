// SPDX-License-Identifier: Apache-2.0
// Saves beside training. Its bytes are copied while it only reads them, so it waits for no more
// than what is not copied when it wants to change them.
//
//   Saver saver(world, {.root = "runs/first"}, size_t{1} << 30);
//   saver.start(snapshot);                          // forward and backward may go on
//   saver.wait_for_copy();                          // the engine's memory may change now
//   if (const auto saved = saver.poll()) ..;        // between steps: has it ended? rethrows
//   if (const auto saved = saver.finish()) ..;      // before the next one, and at the end
//
// The save itself is that of save.h, on a thread and a group of its own: all its promises hold.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <optional>
#include <thread>

#include "hydrofoil/checkpoint/copy_buffer.h"
#include "hydrofoil/checkpoint/save.h"
#include "hydrofoil/checkpoint/snapshot.h"
#include "hydrofoil/comm/communicator.h"

namespace hydrofoil::checkpoint {

struct Saved {
  int64_t step = 0;
  std::filesystem::path folder;
  double seconds = 0;         // from start() until it was complete on the disk
  double waited_seconds = 0;  // of them in start() and wait_for_copy()
};

class Saver {
 public:
  // Collective. buffer_bytes: the most memory a rank takes for copies; where a rank's bytes do not
  // fit, wait_for_copy() waits until the disk has taken what is above.
  Saver(const comm::Communicator& group, SaveOptions options, size_t buffer_bytes);
  // Waits for a save that is under way.
  ~Saver();
  Saver(const Saver&) = delete;
  Saver& operator=(const Saver&) = delete;

  // Collective. The bytes that the snapshot refers to must stay as they are until wait_for_copy().
  // std::logic_error when the outcome of the save before was not asked for.
  void start(Snapshot snapshot);
  // Returns when they are copied, and at once where nothing is being copied. Throws what bringing
  // them failed with, once.
  void wait_for_copy();
  // What has become of the save that was started: nothing as long as it is under way. Told once,
  // and thrown where it failed, as save() throws; ranks learn it at moments of their own.
  std::optional<Saved> poll();
  // The same, but waits. Nothing when no save was started.
  std::optional<Saved> finish();

 private:
  void copy_fragments();
  void write();

  const comm::Communicator group_;
  const SaveOptions options_;
  const size_t buffer_bytes_;
  std::unique_ptr<CopyBuffer> buffer_;
  Snapshot snapshot_;
  Saved saved_;
  std::exception_ptr copy_failure_, failure_;
  std::atomic<bool> done_{false};
  std::thread copying_, writing_;
};

}  // namespace hydrofoil::checkpoint
