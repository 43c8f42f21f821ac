// SPDX-License-Identifier: Apache-2.0
// Messages by MPI. One lock around the library: it may know threads or not, and a thread that waits
// gives the others their turn between two looks.
#include <mpi.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <ctime>
#include <mutex>
#include <stdexcept>
#include <string>
#include <vector>

#include "hydrofoil/comm/backend/message/transport.h"
#include "hydrofoil/core/error.h"

namespace hydrofoil::comm {
namespace {

constexpr size_t kPieceBytes = size_t{1} << 30;  // MPI counts in int
constexpr int kYields = 200;                     // then it sleeps between two looks
constexpr long kSleepNs = 50'000;

std::mutex& library() {
  static std::mutex mutex;
  return mutex;
}

void require(int code, const char* what) {
  if (code == MPI_SUCCESS) return;
  std::array<char, MPI_MAX_ERROR_STRING> text{};
  int length = 0;
  MPI_Error_string(code, text.data(), &length);
  throw std::runtime_error(std::string(what) + ": " + text.data());
}

class MpiTransfer final : public Transfer {
 public:
  // start(begin, bytes, request) issues a piece; called with the lock held.
  template <class Start>
  MpiTransfer(size_t bytes, Start start) {
    const std::lock_guard lock(library());
    for (size_t at = 0; at < bytes; at += kPieceBytes)
      start(at, static_cast<int>(std::min(kPieceBytes, bytes - at)),
            &requests_.emplace_back(MPI_REQUEST_NULL));
  }
  ~MpiTransfer() override {
    const std::lock_guard lock(library());
    drop();
  }

  bool wait() override {
    for (int looks = 0; !cancelled_.load(std::memory_order_relaxed); ++looks) {
      {
        const std::lock_guard lock(library());
        int done = 0;
        require(MPI_Testall(static_cast<int>(requests_.size()), requests_.data(), &done,
                            MPI_STATUSES_IGNORE),
                "MPI");
        if (done) return true;
      }
      const timespec pause{0, looks < kYields ? 0 : kSleepNs};
      nanosleep(&pause, nullptr);
    }
    const std::lock_guard lock(library());
    drop();
    return false;
  }
  void cancel() noexcept override { cancelled_.store(true, std::memory_order_relaxed); }

 private:
  // Only after a failure: what cannot be cancelled is left to the end of the process.
  void drop() {
    for (MPI_Request& request : requests_)
      if (request != MPI_REQUEST_NULL) {
        MPI_Cancel(&request);
        MPI_Request_free(&request);
      }
  }

  std::vector<MPI_Request> requests_;
  std::atomic<bool> cancelled_{false};
};

class MpiTransport final : public Transport {
 public:
  MpiTransport(const TransportRequest& request, MPI_Comm all)
      : Transport(request.rank, request.size), all_(all) {}
  ~MpiTransport() override {
    const std::lock_guard lock(library());
    if (given_up_) return;  // MPI_Finalize waits for all ranks
    MPI_Comm_free(&all_);
    MPI_Finalize();
  }

  std::unique_ptr<Transfer> send(int to, uint32_t channel, const void* data,
                                 size_t bytes) override {
    return std::make_unique<MpiTransfer>(bytes, [&](size_t at, int count, MPI_Request* request) {
      require(MPI_Isend(static_cast<const std::byte*>(data) + at, count, MPI_BYTE, to,
                        static_cast<int>(channel), all_, request),
              "MPI_Isend");
    });
  }
  std::unique_ptr<Transfer> receive(int from, uint32_t channel, void* data, size_t bytes) override {
    return std::make_unique<MpiTransfer>(bytes, [&](size_t at, int count, MPI_Request* request) {
      require(
          MPI_Irecv(static_cast<std::byte*>(data) + at, count, MPI_BYTE,
                    from == kAny ? MPI_ANY_SOURCE : from, static_cast<int>(channel), all_, request),
          "MPI_Irecv");
    });
  }
  void give_up() override { given_up_ = true; }

 private:
  MPI_Comm all_;
  bool given_up_ = false;
};

[[noreturn]] void refuse(const std::string& message, const char* hint) {
  throw Error(ExitCode::kConfig, message, "comm backend mpi", hint);
}

void initialize() {
  int initialized = 0, threads = 0;
  MPI_Initialized(&initialized);
  if (initialized) refuse("MPI is in use in this process already", "connect once");
  if (MPI_Init_thread(nullptr, nullptr, MPI_THREAD_SERIALIZED, &threads) != MPI_SUCCESS ||
      threads < MPI_THREAD_SERIALIZED)
    refuse("this MPI does not work with threads", "install one that knows MPI_THREAD_SERIALIZED");
  void* largest = nullptr;
  int known = 0;
  MPI_Comm_get_attr(MPI_COMM_WORLD, MPI_TAG_UB, &largest, &known);
  if (!known || *static_cast<int*>(largest) < static_cast<int>(Transport::kChannels) - 1)
    refuse("this MPI has fewer than 2^28 tags", "use another MPI, or the backend gloo");
}

Transport* open(const TransportRequest& request) {
  const std::lock_guard lock(library());
  initialize();
  int rank = 0, size = 0;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &size);
  if (rank != request.rank || size != request.size) {
    MPI_Finalize();
    refuse("MPI says rank " + std::to_string(rank) + " of " + std::to_string(size) +
               ", the launcher says rank " + std::to_string(request.rank) + " of " +
               std::to_string(request.size),
           "start the ranks with mpirun, or use the backend gloo");
  }
  MPI_Comm all = MPI_COMM_NULL;
  require(MPI_Comm_dup(MPI_COMM_WORLD, &all), "MPI_Comm_dup");
  MPI_Comm_set_errhandler(all, MPI_ERRORS_RETURN);
  return new MpiTransport(request, all);
}

}  // namespace
}  // namespace hydrofoil::comm

hydrofoil::comm::Transport* hydrofoil_open_transport(
    const hydrofoil::comm::TransportRequest& request) {
  return hydrofoil::comm::open(request);
}

const char* hydrofoil_name_transport() {
  static const std::string name = [] {
    std::array<char, MPI_MAX_LIBRARY_VERSION_STRING> text{};
    int length = 0;
    MPI_Get_library_version(text.data(), &length);
    const std::string all = text.data();  // "Open MPI v4.1.4, package: .."
    return all.substr(0, all.find(','));
  }();
  return name.c_str();
}
