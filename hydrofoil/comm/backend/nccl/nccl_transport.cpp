// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/comm/backend/nccl/nccl_transport.h"

#include <algorithm>
#include <atomic>
#include <ctime>
#include <stdexcept>
#include <string>
#include <utility>

#include "hydrofoil/core/error.h"

namespace hydrofoil::comm {
namespace {

using Library = std::shared_ptr<const NcclLibrary>;

constexpr size_t kDeviceStageBytes = size_t{32} << 20;  // on the device, in each direction
constexpr int kYields = 200;                            // then it sleeps between two looks
constexpr long kSleepNs = 50'000;

class DeviceBytes {
 public:
  DeviceBytes(Library library, size_t bytes) : library_(std::move(library)) {
    library_->require_cuda(library_->cudaMalloc(&data_, bytes), "cudaMalloc");
  }
  ~DeviceBytes() { library_->cudaFree(data_); }
  DeviceBytes(const DeviceBytes&) = delete;
  DeviceBytes& operator=(const DeviceBytes&) = delete;
  std::byte* data() const { return static_cast<std::byte*>(data_); }

 private:
  Library library_;
  void* data_ = nullptr;
};

class Stream {
 public:
  explicit Stream(Library library) : library_(std::move(library)) {
    library_->require_cuda(library_->cudaStreamCreateWithFlags(&stream_, NcclLibrary::kNonBlocking),
                           "cudaStreamCreateWithFlags");
  }
  ~Stream() { library_->cudaStreamDestroy(stream_); }
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;
  NcclLibrary::Stream get() const { return stream_; }

 private:
  Library library_;
  NcclLibrary::Stream stream_ = nullptr;
};

// A communicator of NCCL with a stream and memory to stage in. Used by one thread at a time.
class NcclBulk final : public Bulk {
 public:
  NcclBulk(Library library, int device, const Transport::BulkId& id, int rank, int size)
      : library_(std::move(library)),
        device_(device),
        stream_((use_device(), library_)),
        out_(library_, kDeviceStageBytes),
        in_(library_, kDeviceStageBytes) {
    library_->require_nccl(library_->ncclCommInitRank(&comm_, size, id, rank), "ncclCommInitRank");
  }
  ~NcclBulk() override {
    if (comm_ == nullptr) return;
    library_->cudaSetDevice(device_);
    library_->ncclCommDestroy(comm_);
  }

  std::unique_ptr<Transfer> exchange(std::vector<Parcel> parcels) override;

  // All of it, in as many pieces as the stage asks for. False: `cancelled` was set.
  bool run(const std::vector<Parcel>& parcels, const std::atomic<bool>& cancelled) {
    if (comm_ == nullptr) throw std::runtime_error("NCCL: an earlier exchange has failed");
    use_device();
    size_t longest = 0;
    for (const Parcel& p : parcels) longest = std::max({longest, p.out_bytes, p.in_bytes});
    const size_t step = kDeviceStageBytes / std::max<size_t>(parcels.size(), 1) / 256 * 256;
    try {
      for (size_t begin = 0; begin < longest; begin += step)
        if (!run_piece(parcels, begin, step, cancelled)) return abort(), false;
    } catch (...) {
      abort();
      throw;
    }
    return true;
  }

 private:
  void use_device() const {
    library_->require_cuda(library_->cudaSetDevice(device_), "cudaSetDevice");
  }
  void abort() { library_->ncclCommAbort(std::exchange(comm_, nullptr)); }

  // Bytes [begin, begin + step) of every parcel.
  bool run_piece(const std::vector<Parcel>& parcels, size_t begin, size_t step,
                 const std::atomic<bool>& cancelled) {
    const auto part = [&](size_t bytes) {
      return bytes > begin ? std::min(step, bytes - begin) : 0;
    };
    // What goes to several ranks is staged once.
    std::vector<const std::byte*> staged(parcels.size());
    for (size_t i = 0; i < parcels.size(); ++i) {
      const Parcel& p = parcels[i];
      if (i > 0 && p.out == parcels[i - 1].out && p.out_bytes == parcels[i - 1].out_bytes) {
        staged[i] = staged[i - 1];
        continue;
      }
      staged[i] = out_.data() + i * step;
      if (const size_t bytes = part(p.out_bytes))
        copy(out_.data() + i * step, p.out + begin, bytes, NcclLibrary::kToDevice);
    }
    library_->require_nccl(library_->ncclGroupStart(), "ncclGroupStart");
    for (size_t i = 0; i < parcels.size(); ++i) {
      const Parcel& p = parcels[i];
      if (const size_t bytes = part(p.out_bytes))
        library_->require_nccl(
            library_->ncclSend(staged[i], bytes, NcclLibrary::kByte, p.rank, comm_, stream_.get()),
            "ncclSend");
      if (const size_t bytes = part(p.in_bytes))
        library_->require_nccl(library_->ncclRecv(in_.data() + i * step, bytes, NcclLibrary::kByte,
                                                  p.rank, comm_, stream_.get()),
                               "ncclRecv");
    }
    library_->require_nccl(library_->ncclGroupEnd(), "ncclGroupEnd");
    if (!await(cancelled)) return false;
    for (size_t i = 0; i < parcels.size(); ++i)
      if (const size_t bytes = part(parcels[i].in_bytes))
        copy(parcels[i].in + begin, in_.data() + i * step, bytes, NcclLibrary::kToHost);
    library_->require_cuda(library_->cudaStreamSynchronize(stream_.get()), "cudaStreamSynchronize");
    return true;
  }

  void copy(void* to, const void* from, size_t bytes, int kind) const {
    library_->require_cuda(library_->cudaMemcpyAsync(to, from, bytes, kind, stream_.get()),
                           "cudaMemcpyAsync");
  }

  // Looks at the stream instead of waiting for it: a peer that is gone never ends the exchange.
  bool await(const std::atomic<bool>& cancelled) const {
    for (int looks = 0; !cancelled.load(std::memory_order_relaxed); ++looks) {
      const int state = library_->cudaStreamQuery(stream_.get());
      if (state == NcclLibrary::kSuccess) return true;
      if (state != NcclLibrary::kNotReady) library_->require_cuda(state, "cudaStreamQuery");
      int failure = NcclLibrary::kSuccess;
      library_->require_nccl(library_->ncclCommGetAsyncError(comm_, &failure),
                             "ncclCommGetAsyncError");
      library_->require_nccl(failure, "NCCL");
      const timespec pause{0, looks < kYields ? 0 : kSleepNs};
      nanosleep(&pause, nullptr);
    }
    return false;
  }

  const Library library_;
  const int device_;
  const Stream stream_;
  const DeviceBytes out_, in_;
  NcclLibrary::Comm comm_ = nullptr;
};

class NcclTransfer final : public Transfer {
 public:
  NcclTransfer(NcclBulk& bulk, std::vector<Parcel> parcels)
      : bulk_(bulk), parcels_(std::move(parcels)) {}
  bool wait() override { return bulk_.run(parcels_, cancelled_); }
  void cancel() noexcept override { cancelled_.store(true, std::memory_order_relaxed); }

 private:
  NcclBulk& bulk_;
  const std::vector<Parcel> parcels_;
  std::atomic<bool> cancelled_{false};
};

std::unique_ptr<Transfer> NcclBulk::exchange(std::vector<Parcel> parcels) {
  return std::make_unique<NcclTransfer>(*this, std::move(parcels));
}

class NcclTransport final : public Transport {
 public:
  NcclTransport(std::unique_ptr<Transport> messages, Library library, int device)
      : Transport(messages->rank(), messages->size()),
        messages_(std::move(messages)),
        library_(std::move(library)),
        device_(device) {}

  std::unique_ptr<Transfer> send(int to, uint32_t channel, const void* data,
                                 size_t bytes) override {
    return messages_->send(to, channel, data, bytes);
  }
  std::unique_ptr<Transfer> receive(int from, uint32_t channel, void* data, size_t bytes) override {
    return messages_->receive(from, channel, data, bytes);
  }
  void give_up() override { messages_->give_up(); }

  bool has_bulk() const override { return true; }
  BulkId make_bulk_id() override {
    BulkId id{};
    library_->require_nccl(library_->ncclGetUniqueId(&id), "ncclGetUniqueId");
    return id;
  }
  std::unique_ptr<Bulk> open_bulk(const BulkId& id, int rank, int size) override {
    return std::make_unique<NcclBulk>(library_, device_, id, rank, size);
  }

 private:
  const std::unique_ptr<Transport> messages_;
  const Library library_;
  const int device_;
};

}  // namespace

std::unique_ptr<Transport> make_nccl_transport(std::unique_ptr<Transport> messages, Library library,
                                               int local_rank) {
  int devices = 0;
  library->require_cuda(library->cudaGetDeviceCount(&devices), "cudaGetDeviceCount");
  if (local_rank >= devices)
    throw Error(ExitCode::kConfig,
                "rank " + std::to_string(messages->rank()) + " has no GPU: this host has " +
                    std::to_string(devices) + ", and the rank is number " +
                    std::to_string(local_rank) + " there",
                "comm backend nccl", "start as many ranks a host as it has GPUs, or use gloo");
  return std::make_unique<NcclTransport>(std::move(messages), std::move(library), local_rank);
}

}  // namespace hydrofoil::comm
