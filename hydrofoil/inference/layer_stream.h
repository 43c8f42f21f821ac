// SPDX-License-Identifier: Apache-2.0
// Layers that do not fit into memory, packed once into a file without a name, and read past the
// page cache while the layers before them compute: in a ring of buffers, in the order of the model,
// step after step.
//
// Packed and not as the model's own file has them, whatever that is: a pass costs no more than its
// reads, and types of weights that are made on the way are made once.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <mutex>
#include <vector>

#include "hydrofoil/inference/aligned.h"
#include "hydrofoil/inference/residency.h"
#include "hydrofoil/inference/weight_source.h"
#include "hydrofoil/io/async_io.h"
#include "hydrofoil/io/file.h"

namespace hydrofoil::inference {

struct LayerWeights;

class LayerStream final : public WeightSource {
 public:
  // Error(kError) naming the folder where the disk has no room for all streamed layers.
  LayerStream(const std::filesystem::path& folder, const Residency& residency);

  // The next streamed layer, while a model is packed: its matrices move into the file.
  void put(size_t layer, LayerWeights& weights);
  // After the last of them: reading begins.
  void start();

  const std::byte* acquire(size_t layer) override;
  void release(size_t layer) override;

  io::IoCounters counters() const { return io_.counters(); }
  const io::File& file() const { return file_; }
  uint64_t offset_of(size_t layer) const;  // of a streamed one, in the file

 private:
  struct Piece {
    size_t layer = 0;
    uint64_t offset = 0;
    size_t bytes = 0;
  };
  struct Slot {
    Aligned<std::byte> memory;
    size_t layer = SIZE_MAX;
    io::Transfer transfer = {};
  };
  void begin_next(Slot& slot);

  const Residency residency_;
  const io::File file_;
  std::vector<Piece> pieces_;
  std::mutex mutex_;  // of what is below
  std::condition_variable begun_;
  std::vector<Slot> slots_;
  size_t next_ = 0;             // piece to be read
  std::exception_ptr failure_;  // of a read: no layer comes after it
  io::AsyncIo io_;              // goes first: it writes into slots until it has ended
};

}  // namespace hydrofoil::inference
