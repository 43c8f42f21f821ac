// SPDX-License-Identifier: Apache-2.0
// Messages over TCP by the Gloo inside libtorch. Its headers are not in the wheel: stub/ declares
// as much as ProcessGroupGloo.hpp names. ProcessGroupGloo::GlooStore must never be constructed
// here, or its vtable would have the stub's layout.
#include <ATen/ops/from_blob.h>
#include <arpa/inet.h>
#include <netdb.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <torch/headeronly/version.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <mutex>
#include <stdexcept>
#include <string>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>
#include <vector>

#include "hydrofoil/comm/backend/message/transport.h"
#include "hydrofoil/comm/backend/shared/fabric.h"
#include "hydrofoil/comm/backend/shm/rendezvous.h"
#include "hydrofoil/core/error.h"

namespace hydrofoil::comm {
namespace {

using Gloo = c10d::ProcessGroupGloo;
using StorePointer = c10::intrusive_ptr<c10d::Store>;

// Gloo closes every connection when one wait runs out of time: who waits here is cancelled instead.
constexpr std::chrono::milliseconds kNever = std::chrono::hours(24 * 366);

// What libtorch says, without its C++ stack.
std::string reason(const std::exception& error) {
  const std::string text = error.what();
  return text.substr(0, text.find('\n'));
}

class GlooTransfer final : public Transfer {
 public:
  explicit GlooTransfer(c10::intrusive_ptr<c10d::Work> work) : work_(std::move(work)) {}

  bool wait() override {
    try {
      return work_->wait();
    } catch (const std::exception& error) {
      throw std::runtime_error(reason(error));
    }
  }
  void cancel() noexcept override { work_->abort(); }

 private:
  c10::intrusive_ptr<c10d::Work> work_;
};

// Gloo refuses a message over a connection that is known to be broken.
class RefusedTransfer final : public Transfer {
 public:
  explicit RefusedTransfer(std::string why) : why_(std::move(why)) {}

  bool wait() override { throw std::runtime_error(why_); }
  void cancel() noexcept override {}

 private:
  std::string why_;
};

class GlooTransport final : public Transport {
 public:
  GlooTransport(const TransportRequest& request, c10::intrusive_ptr<Gloo> gloo, StorePointer store)
      : Transport(request.rank, request.size), gloo_(std::move(gloo)), store_(std::move(store)) {}

  std::unique_ptr<Transfer> send(int to, uint32_t channel, const void* data,
                                 size_t bytes) override {
    auto tensors = tensor(const_cast<void*>(data), bytes);
    return start([&] { return gloo_->send(tensors, to, static_cast<int>(channel)); });
  }
  std::unique_ptr<Transfer> receive(int from, uint32_t channel, void* data, size_t bytes) override {
    auto tensors = tensor(data, bytes);
    return start([&] {
      return from == kAny ? gloo_->recvAnysource(tensors, static_cast<int>(channel))
                          : gloo_->recv(tensors, from, static_cast<int>(channel));
    });
  }
  void give_up() override {}

 private:
  static std::vector<at::Tensor> tensor(void* data, size_t bytes) {
    return {at::from_blob(data, {static_cast<int64_t>(bytes)}, at::kByte)};
  }
  template <class Start>
  std::unique_ptr<Transfer> start(Start issue) {
    const std::lock_guard lock(mutex_);
    try {
      return std::make_unique<GlooTransfer>(issue());
    } catch (const std::exception& error) {
      return std::make_unique<RefusedTransfer>(reason(error));
    }
  }

  std::mutex mutex_;
  c10::intrusive_ptr<Gloo> gloo_;
  StorePointer store_;  // rank 0's serves the others as long as it lives
};

c10::intrusive_ptr<c10d::TCPStore> open_store(const TransportRequest& request,
                                              const std::string& address, int port) {
  c10d::TCPStoreOptions options;
  options.port = static_cast<uint16_t>(port);
  options.isServer = request.rank == 0 && !request.store_of_launcher;
  options.waitWorkers = false;
  options.timeout = request.rendezvous_timeout;
  try {
    return c10::make_intrusive<c10d::TCPStore>(address, options);
  } catch (const std::exception& error) {
    const std::string place = address + ":" + std::to_string(port);
    if (options.isServer)
      throw Error(ExitCode::kConfig, "rank 0 cannot listen on " + place + ": " + reason(error),
                  "comm backend gloo",
                  "set MASTER_ADDR to an address of rank 0's host, and "
                  "MASTER_PORT to a free port");
    throw Error(
        ExitCode::kTimeout,
        "rank 0 did not answer on " + place + " within " + seconds_text(request.rendezvous_timeout),
        "comm backend gloo", "is MASTER_ADDR the host of rank 0, and reachable?");
  }
}

// Without an address all ranks are on this host: rank 0 takes a free port and the others learn it
// where ranks of a host meet.
c10::intrusive_ptr<c10d::TCPStore> open_store_here(const TransportRequest& request) {
  const std::string here = "127.0.0.1";
  c10::intrusive_ptr<c10d::TCPStore> store;
  Member own{.pid = getpid(),
             .memory = Descriptor(memfd_create("hydrofoil-port", MFD_CLOEXEC)),
             .process = {}};
  int port = 0;
  if (request.rank == 0) {
    store = open_store(request, here, 0);
    port = store->getPort();
    if (pwrite(own.memory.get(), &port, sizeof port, 0) != sizeof port)
      throw Error(ExitCode::kError, errno_message("pwrite"), "comm backend gloo");
  }
  const auto members = meet(request.job + "-gloo", request.rank, request.size, std::move(own),
                            request.rendezvous_timeout);
  if (store) return store;
  if (pread(members[0].memory.get(), &port, sizeof port, 0) != sizeof port)
    throw Error(ExitCode::kError, errno_message("pread"), "comm backend gloo");
  return open_store(request, here, port);
}

// Names who does not come.
void meet_in(const StorePointer& store, const TransportRequest& request) {
  const auto key = [](int rank) { return "here/" + std::to_string(rank); };
  store->set(key(request.rank), std::vector<uint8_t>{1});
  std::vector<std::string> all;
  for (int r = 0; r < request.size; ++r) all.push_back(key(r));
  try {
    return store->wait(all, request.rendezvous_timeout);
  } catch (const std::exception&) {  // said below
  }
  std::string missing;
  for (int r = 0; r < request.size; ++r)
    if (!store->check({key(r)})) missing += (missing.empty() ? "" : ", ") + std::to_string(r);
  throw Error(ExitCode::kTimeout,
              "ranks " + missing + " of " + std::to_string(request.size) + " did not come within " +
                  seconds_text(request.rendezvous_timeout),
              "comm backend gloo",
              "start all ranks; HYDROFOIL_RENDEZVOUS_TIMEOUT_SECONDS sets how long they wait");
}

// The address of this host on the way to rank 0's: nothing is sent.
std::string own_address_towards(const std::string& host, int port) {
  addrinfo hints{}, *found = nullptr;
  hints.ai_socktype = SOCK_DGRAM;
  std::array<char, NI_MAXHOST> text{};
  if (getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &found) != 0) return host;
  const Descriptor probe(socket(found->ai_family, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  sockaddr_storage own{};
  socklen_t length = sizeof own;
  const bool known = probe && connect(probe.get(), found->ai_addr, found->ai_addrlen) == 0 &&
                     getsockname(probe.get(), reinterpret_cast<sockaddr*>(&own), &length) == 0 &&
                     getnameinfo(reinterpret_cast<const sockaddr*>(&own), length, text.data(),
                                 text.size(), nullptr, 0, NI_NUMERICHOST) == 0;
  freeaddrinfo(found);
  return known ? text.data() : host;
}

// Gloo and the store write to sockets whose peer may be gone: without this the signal would end the
// process before it can say so.
void survive_broken_pipes() {
  struct sigaction now{};
  if (sigaction(SIGPIPE, nullptr, &now) == 0 && now.sa_handler == SIG_DFL)
    std::signal(SIGPIPE, SIG_IGN);
}

Transport* open(const TransportRequest& request) {
  survive_broken_pipes();
  const auto tcp = request.address.empty() ? open_store_here(request)
                                           : open_store(request, request.address, request.port);
  const StorePointer store =
      c10::make_intrusive<c10d::PrefixStore>("hydrofoil/" + request.job, tcp);
  meet_in(store, request);
  try {
    const auto options = Gloo::Options::create(kNever);
    const char* interfaces = std::getenv("GLOO_SOCKET_IFNAME");
    options->devices.push_back(
        interfaces != nullptr
            ? Gloo::createDeviceForInterface(interfaces)
            : Gloo::createDeviceForHostname(own_address_towards(tcp->getHost(), tcp->getPort())));
    auto gloo = c10::make_intrusive<Gloo>(store, request.rank, request.size, options);
    return new GlooTransport(request, std::move(gloo), tcp);
  } catch (const std::exception& error) {
    throw Error(ExitCode::kPeerFailed, "the ranks cannot connect: " + reason(error),
                "comm backend gloo", "GLOO_SOCKET_IFNAME names the network interface to use");
  }
}

}  // namespace
}  // namespace hydrofoil::comm

hydrofoil::comm::Transport* hydrofoil_open_transport(
    const hydrofoil::comm::TransportRequest& request) {
  return hydrofoil::comm::open(request);
}

const char* hydrofoil_name_transport() {
  return "Gloo of libtorch " TORCH_VERSION;
}
