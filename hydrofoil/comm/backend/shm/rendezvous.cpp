// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/comm/backend/shm/rendezvous.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <ctime>
#include <optional>
#include <string_view>

#include "hydrofoil/core/error.h"

namespace hydrofoil::comm {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::array<char, 16> kMagic{"hydrofoil comm1"};
constexpr auto kRetry = std::chrono::milliseconds(10);
constexpr auto kRefusalGrace = std::chrono::seconds(2);  // for rank 0 to say who is missing

struct Hello {
  std::array<char, 16> magic = kMagic;
  int32_t rank = 0, size = 0, pid = 0;
};
struct Verdict {
  std::array<char, 16> magic = kMagic;
  int32_t code = 0;  // an ExitCode; kOk: a Hello of every rank follows
  std::array<char, 400> message{}, hint{};
};

Error socket_error() {
  return {ExitCode::kError, errno_message("socket"), "rendezvous of the ranks"};
}

int remaining_ms(Clock::time_point end) {
  const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(end - Clock::now());
  return static_cast<int>(std::clamp<int64_t>(left.count(), 0, 3'600'000));
}

struct Address {
  sockaddr_un data{};
  socklen_t length = 0;
};

// Abstract names are at most 107 bytes: long job ids are hashed.
Address address_of(const std::string& job) {
  std::string name = "hydrofoil-" + std::to_string(geteuid()) + "-" + job;
  Address address;
  address.data.sun_family = AF_UNIX;
  constexpr size_t kRoom = sizeof address.data.sun_path - 1;
  if (name.size() > kRoom) {
    uint64_t hash = 0xcbf29ce484222325;
    for (const char c : job) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
    name = name.substr(0, kRoom - 20) + std::to_string(hash);
  }
  name.copy(address.data.sun_path + 1, kRoom);
  address.length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + name.size());
  return address;
}

// Who is at the other end; as pid 0 and nobody where the system does not say.
ucred peer_of(int connection) {
  ucred peer{.pid = 0, .uid = static_cast<uid_t>(-1), .gid = static_cast<gid_t>(-1)};
  socklen_t length = sizeof peer;
  getsockopt(connection, SOL_SOCKET, SO_PEERCRED, &peer, &length);
  return peer;
}

bool same_user(int connection) {
  return peer_of(connection).uid == geteuid();
}

bool reach(int socket, const Address& address) {
  return connect(socket, reinterpret_cast<const sockaddr*>(&address.data), address.length) == 0;
}

// The process that listens under a name.
int holder_of(const Address& address) {
  const Descriptor caller(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  return caller && reach(caller.get(), address) ? peer_of(caller.get()).pid : 0;
}

bool send_message(int socket, const void* data, size_t bytes, const std::vector<int>& fds = {}) {
  alignas(cmsghdr) char control[CMSG_SPACE(2 * sizeof(int))] = {};
  iovec part{const_cast<void*>(data), bytes};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  if (!fds.empty()) {
    message.msg_control = control;
    message.msg_controllen = CMSG_SPACE(fds.size() * sizeof(int));
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(fds.size() * sizeof(int));
    std::memcpy(CMSG_DATA(header), fds.data(), fds.size() * sizeof(int));
  }
  return sendmsg(socket, &message, MSG_NOSIGNAL) == static_cast<ssize_t>(bytes);
}

// One message of exactly this size, with its descriptors; false at the end of the connection.
bool receive_message(int socket, void* data, size_t bytes, std::vector<Descriptor>* fds = nullptr) {
  alignas(cmsghdr) char control[CMSG_SPACE(2 * sizeof(int))];
  iovec part{data, bytes};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  ssize_t n;
  do n = recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
  while (n < 0 && errno == EINTR);
  std::vector<Descriptor> received;
  for (cmsghdr* h = CMSG_FIRSTHDR(&message); n >= 0 && h; h = CMSG_NXTHDR(&message, h)) {
    if (h->cmsg_level != SOL_SOCKET || h->cmsg_type != SCM_RIGHTS) continue;
    std::vector<int> raw((h->cmsg_len - CMSG_LEN(0)) / sizeof(int));
    std::memcpy(raw.data(), CMSG_DATA(h), raw.size() * sizeof(int));
    for (const int fd : raw) received.emplace_back(fd);
  }
  if (fds) *fds = std::move(received);
  return n == static_cast<ssize_t>(bytes) && !(message.msg_flags & (MSG_TRUNC | MSG_CTRUNC));
}

bool send_member(int socket, int rank, int size, const Member& member) {
  Hello hello;
  hello.rank = rank, hello.size = size, hello.pid = member.pid;
  std::vector<int> fds{member.memory.get()};
  if (member.process) fds.push_back(member.process.get());
  return send_message(socket, &hello, sizeof hello, fds);
}

std::optional<Member> receive_member(int socket, Hello& hello) {
  std::vector<Descriptor> fds;
  if (!receive_message(socket, &hello, sizeof hello, &fds)) return std::nullopt;
  if (hello.magic != kMagic || fds.empty()) return std::nullopt;
  Member member{.pid = hello.pid, .memory = std::move(fds[0]), .process = {}};
  if (fds.size() > 1) member.process = std::move(fds[1]);
  return member;
}

std::string seconds_text(std::chrono::milliseconds time) {
  const double s = static_cast<double>(time.count()) / 1000;
  std::string text = std::to_string(s);
  text.erase(text.find_last_not_of('0') + 1);
  if (text.back() == '.') text.pop_back();
  return text + " s";
}

constexpr const char* kOneHostHint =
    "the backend shm needs all ranks on one host and in one network namespace, others do not; "
    "where "
    "ranks start slowly, raise HYDROFOIL_RENDEZVOUS_TIMEOUT_SECONDS";

constexpr const char* kOnceHint =
    "start each rank once, and give every job its own id (HYDROFOIL_JOB)";

// Rank 0: collects the others and answers them all, with the members or with what went wrong.
class Host {
 public:
  Host(const std::string& job, int size, Member own, std::chrono::milliseconds timeout)
      : size_(size), timeout_(timeout), end_(Clock::now() + timeout), members_(slots(size)) {
    members_[0] = std::move(own);
    listener_ = Descriptor(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    const Address address = address_of(job);
    if (!listener_) throw socket_error();
    if (bind(listener_.get(), reinterpret_cast<const sockaddr*>(&address.data), address.length) !=
        0) {
      if (errno != EADDRINUSE) throw socket_error();
      const int holder = holder_of(address);
      throw Error(ExitCode::kConfig,
                  "two processes claim rank 0 of job '" + job + "' on this host: pids " +
                      (holder > 0 ? std::to_string(holder) : "unknown") + " and " +
                      std::to_string(getpid()),
                  {}, kOnceHint);
    }
    if (listen(listener_.get(), size) != 0) throw socket_error();
  }

  std::vector<Member> run() {
    try {
      while (!missing().empty()) {
        // This rank may itself be late: who has come by now is not missing.
        const bool late = remaining_ms(end_) == 0;
        if (!wait_for_someone() && late) fail_for_missing();
      }
    } catch (const Error& error) {
      tell_all(error);
      throw;
    }
    send_members();
    return std::move(members_);
  }

 private:
  struct Guest {
    Descriptor connection;
    int rank = -1;  // not known yet
  };
  static std::vector<Member> slots(int size) {
    return std::vector<Member>(static_cast<size_t>(size));
  }

  std::vector<int> missing() const {
    std::vector<int> ranks;
    for (int r = 0; r < size_; ++r)
      if (!members_[static_cast<size_t>(r)].memory) ranks.push_back(r);
    return ranks;
  }

  [[noreturn]] void fail_for_missing() const {
    const auto ranks = missing();
    std::string text = ranks.size() == 1 ? "rank " : "ranks ";
    for (size_t i = 0; i < ranks.size(); ++i) text += (i ? ", " : "") + std::to_string(ranks[i]);
    throw Error(
        ExitCode::kTimeout,
        text + " of " + std::to_string(size_) + " did not come within " + seconds_text(timeout_),
        {}, kOneHostHint);
  }

  // Whether anybody came or spoke.
  bool wait_for_someone() {
    std::vector<pollfd> polls{{listener_.get(), POLLIN, 0}};
    for (const auto& guest : guests_)
      polls.push_back({guest.rank < 0 ? guest.connection.get() : -1, POLLIN, 0});
    if (poll(polls.data(), polls.size(), remaining_ms(end_)) <= 0) return false;
    bool spoken = false;
    for (size_t i = guests_.size(); i-- > 0;)
      if (polls[i + 1].revents) {
        listen_to(i);
        spoken = true;
      }
    if (!polls[0].revents) return spoken;
    Descriptor connection(accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
    if (!connection) return spoken;
    if (same_user(connection.get())) guests_.push_back({std::move(connection), -1});
    return true;
  }

  void listen_to(size_t index) {
    Hello hello;
    auto member = receive_member(guests_[index].connection.get(), hello);
    if (!member) {  // not one of ours, or gone: whoever it was may come again
      guests_.erase(guests_.begin() + static_cast<std::ptrdiff_t>(index));
      return;
    }
    const std::string who =
        "rank " + std::to_string(hello.rank) + " (pid " + std::to_string(hello.pid) + ")";
    if (hello.size != size_)
      throw Error(ExitCode::kConfig, who + " was started for " + std::to_string(hello.size) +
                                         " ranks, rank 0 for " + std::to_string(size_));
    if (hello.rank < 0 || hello.rank >= size_)
      throw Error(ExitCode::kConfig, who + " is not one of " + std::to_string(size_) + " ranks");
    Member& slot = members_[static_cast<size_t>(hello.rank)];
    if (slot.memory)
      throw Error(ExitCode::kConfig,
                  "two processes claim rank " + std::to_string(hello.rank) + ": pids " +
                      std::to_string(slot.pid) + " and " + std::to_string(hello.pid),
                  {}, kOnceHint);
    slot = std::move(*member);
    guests_[index].rank = hello.rank;
  }

  void tell_all(const Error& error) const {
    Verdict verdict;
    verdict.code = static_cast<int32_t>(error.code());
    std::string_view(error.what()).copy(verdict.message.data(), verdict.message.size() - 1);
    error.hint().copy(verdict.hint.data(), verdict.hint.size() - 1);
    for (const auto& guest : guests_)
      send_message(guest.connection.get(), &verdict, sizeof verdict);
  }

  // A guest that has gone meanwhile is found by its pidfd, like any rank that dies later.
  void send_members() const {
    const Verdict welcome;
    for (const auto& guest : guests_) {
      if (guest.rank < 0) continue;
      send_message(guest.connection.get(), &welcome, sizeof welcome);
      for (int r = 0; r < size_; ++r)
        send_member(guest.connection.get(), r, size_, members_[static_cast<size_t>(r)]);
    }
  }

  int size_;
  std::chrono::milliseconds timeout_;
  Clock::time_point end_;
  std::vector<Member> members_;
  std::vector<Guest> guests_;
  Descriptor listener_;
};

Descriptor connect_to(const std::string& job, std::chrono::milliseconds timeout) {
  const auto end = Clock::now() + timeout;
  const Address address = address_of(job);
  for (;;) {
    Descriptor connection(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
    if (!connection) throw socket_error();
    const bool reached = reach(connection.get(), address);
    if (reached && same_user(connection.get())) return connection;
    if (Clock::now() > end)
      throw Error(
          ExitCode::kTimeout,
          "rank 0 did not come within " + seconds_text(timeout) +
              (reached ? "; another user's process (pid " +
                             std::to_string(peer_of(connection.get()).pid) + ") has taken its name"
                       : ""),
          {}, kOneHostHint);
    const timespec pause{0, std::chrono::nanoseconds(kRetry).count()};
    nanosleep(&pause, nullptr);
  }
}

std::vector<Member> join(const std::string& job, int rank, int size, const Member& own,
                         std::chrono::milliseconds timeout) {
  const auto end = Clock::now() + timeout + kRefusalGrace;
  const Descriptor connection = connect_to(job, timeout);
  const Error gone(ExitCode::kPeerFailed, "rank 0 ended during the rendezvous");
  if (!send_member(connection.get(), rank, size, own)) throw gone;
  const auto receive = [&](auto& data, auto&& how) {
    pollfd readable{connection.get(), POLLIN, 0};
    if (poll(&readable, 1, remaining_ms(end)) == 0)
      throw Error(ExitCode::kTimeout,
                  "rank 0 did not gather all ranks within " + seconds_text(timeout), {},
                  kOneHostHint);
    return how(data);
  };
  Verdict verdict;
  if (!receive(verdict, [&](Verdict& v) {
        return receive_message(connection.get(), &v, sizeof v) && v.magic == kMagic;
      }))
    throw gone;
  if (verdict.code != 0)
    throw Error(static_cast<ExitCode>(verdict.code), verdict.message.data(), {},
                verdict.hint.data());
  std::vector<Member> members(static_cast<size_t>(size));
  for (int r = 0; r < size; ++r) {
    Hello hello;
    auto member = receive(hello, [&](Hello& h) { return receive_member(connection.get(), h); });
    if (!member || hello.rank != r) throw gone;
    members[static_cast<size_t>(r)] = std::move(*member);
  }
  return members;
}

}  // namespace

std::vector<Member> meet(const std::string& job, int rank, int size, Member own,
                         std::chrono::milliseconds timeout) {
  if (rank == 0) return Host(job, size, std::move(own), timeout).run();
  return join(job, rank, size, own, timeout);
}

}  // namespace hydrofoil::comm
