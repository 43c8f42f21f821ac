// SPDX-License-Identifier: Apache-2.0
// What a messaging library has to do for comm: carry bytes between processes. Order, reductions,
// windows and the explanation of failures are built on it once, in MessageBackend.
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace hydrofoil::comm {

// A message under way. Its memory must live until wait() has returned or thrown.
class Transfer {
 public:
  Transfer() = default;
  Transfer(const Transfer&) = delete;
  Transfer& operator=(const Transfer&) = delete;
  virtual ~Transfer() = default;

  // True when the message has arrived, or may be overwritten; false when it was cancelled. Throws
  // std::runtime_error, with what the library says, when the peer cannot be reached any more.
  virtual bool wait() = 0;
  // By any thread, any number of times, while somebody waits or before.
  virtual void cancel() noexcept = 0;
};

// What goes to and comes from one rank of a group.
struct Parcel {
  int rank = 0;
  const std::byte* out = nullptr;
  size_t out_bytes = 0;
  std::byte* in = nullptr;
  size_t in_bytes = 0;
};

// A way for the data of a group's collectives that is faster than messages. All ranks of the group
// make the same calls; both ends of a pair know the same sizes.
class Bulk {
 public:
  virtual ~Bulk() = default;
  // Under way until the transfer is waited for. After one that was cancelled or has failed there is
  // no other.
  virtual std::unique_ptr<Transfer> exchange(std::vector<Parcel> parcels) = 0;
};

// Messages of one source, destination and channel arrive in the order of the calls, and a receive
// names their exact size. Every function may be called from several threads. A peer that cannot be
// reached is told by the transfer, not by send or receive: others may be under way beside it.
class Transport {
 public:
  static constexpr int kAny = -1;
  static constexpr uint32_t kChannels = 1u << 28;  // channels are below

  Transport(int rank, int size) : rank_(rank), size_(size) {}
  Transport(const Transport&) = delete;
  Transport& operator=(const Transport&) = delete;
  virtual ~Transport() = default;  // every rank's, at about the same time

  int rank() const { return rank_; }
  int size() const { return size_; }
  virtual std::unique_ptr<Transfer> send(int to, uint32_t channel, const void* data,
                                         size_t bytes) = 0;
  // from: a rank, or kAny.
  virtual std::unique_ptr<Transfer> receive(int from, uint32_t channel, void* data,
                                            size_t bytes) = 0;
  // The job has failed: the destructor must wait for nobody.
  virtual void give_up() = 0;

  // Where there is such a way: rank 0 of a group makes an id for it, then all ranks open it,
  // collectively. std::runtime_error where that fails.
  virtual bool has_bulk() const { return false; }
  using BulkId = std::array<char, 128>;
  virtual BulkId make_bulk_id() { return {}; }
  virtual std::unique_ptr<Bulk> open_bulk(const BulkId&, int /*rank*/, int /*size*/) {
    return nullptr;
  }

 private:
  int rank_, size_;
};

// What a module needs to know to bring the ranks together.
struct TransportRequest {
  int rank = 0, size = 1;
  int local_rank = 0;              // among those of this host
  std::string job;                 // the same in all ranks, different between jobs
  std::string address;             // of rank 0; empty: all ranks are on this host
  int port = 0;                    // there
  bool store_of_launcher = false;  // a store of torchrun's listens there already
  std::chrono::milliseconds rendezvous_timeout{std::chrono::seconds(60)};
};

// Libraries that not every machine has live in modules (libhydrofoil_mpi.so, libhydrofoil_gloo.so),
// which are loaded when they are asked for. Each exports these two:
using OpenTransport = Transport* (*)(const TransportRequest& request);  // throws Error
using NameTransport = const char* (*)();  // the library and its version: "Open MPI 4.1.4"
constexpr const char *kOpenTransport = "hydrofoil_open_transport",
                     *kNameTransport = "hydrofoil_name_transport";

}  // namespace hydrofoil::comm

extern "C" {
__attribute__((visibility("default"))) hydrofoil::comm::Transport* hydrofoil_open_transport(
    const hydrofoil::comm::TransportRequest& request);
__attribute__((visibility("default"))) const char* hydrofoil_name_transport();
}
