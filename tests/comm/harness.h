// SPDX-License-Identifier: Apache-2.0
// Runs the same body on N ranks of each backend, and makes the data that the suites compare.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <ostream>
#include <string>
#include <vector>

#include "hydrofoil/comm/backend/hierarchical/hierarchical_backend.h"
#include "hydrofoil/comm/backend/nccl/nccl_transport.h"
#include "hydrofoil/comm/backend/thread/thread_world.h"
#include "hydrofoil/comm/communicator.h"
#include "hydrofoil/comm/group.h"
#include "hydrofoil/comm/module.h"
#include "hydrofoil/comm/world.h"
#include "hydrofoil/core/dtype.h"
#include "hydrofoil/core/error.h"
#include "tests/comm/mailboxes.h"
#include "tests/comm/processes.h"
#include "tests/support/ranks.h"

namespace hydrofoil::comm::test {

// What carries the data: memory of threads, memory of processes, messages between threads, threads
// as ranks of two hosts, the same with two networks and a way for each operation and size, a
// stand-in for NCCL between threads, processes over Gloo, whatever the ranks of a launcher talk
// over.
enum class Over { kThread, kShm, kMessages, kHosts, kTuned, kNccl, kGloo, kLaunched };

struct World {
  Over over;
  int ranks;
  friend std::ostream& operator<<(std::ostream& out, const World& w) {
    constexpr std::array kNames{"Thread", "Shm",  "Messages", "Hosts",
                                "Tuned",  "Nccl", "Gloo",     "Launched"};
    return out << kNames[static_cast<size_t>(w.over)] << w.ranks;
  }
};

using Body = std::function<void(Communicator)>;

inline Communicator over_messages(std::unique_ptr<Transport> transport,
                                  std::chrono::milliseconds timeout) {
  auto job = join_by_messages(std::move(transport), {.timeout = timeout});
  return Communicator(
      std::make_shared<Group>(std::move(job.backend), std::make_shared<Meter>(), "messages"));
}

constexpr const char* kNcclDouble = HYDROFOIL_MODULES "/libnccl_double.so";

inline void run_over_nccl(int ranks, const Body& body, std::chrono::milliseconds timeout) {
  const auto boxes = std::make_shared<Mailboxes>(ranks);
  const auto library = load_nccl(kNcclDouble, kNcclDouble);
  hydrofoil::test::run_as_threads(
      ranks,
      [&](int rank) {
        return over_messages(make_nccl_transport(boxes->join(rank), library, rank), timeout);
      },
      body);
}

inline void run_over_messages(int ranks, const Body& body, std::chrono::milliseconds timeout) {
  const auto boxes = std::make_shared<Mailboxes>(ranks);
  hydrofoil::test::run_as_threads(
      ranks, [&](int rank) { return over_messages(boxes->join(rank), timeout); }, body);
}

// Ranks on two hosts, over these networks: the first half of the ranks, rounded up, is one host.
inline void run_on_two_hosts(int ranks, const std::vector<std::string>& networks,
                             const std::optional<Tuning>& tuning, const Body& body,
                             std::chrono::milliseconds timeout) {
  std::vector<std::shared_ptr<Mailboxes>> boxes;
  for (size_t n = 0; n < networks.size(); ++n) boxes.push_back(std::make_shared<Mailboxes>(ranks));
  const int first = (ranks + 1) / 2;
  const std::array hosts{ThreadWorld(first, timeout), ThreadWorld(ranks - first, timeout, first)};
  std::vector<int> host_of;
  for (int r = 0; r < ranks; ++r) host_of.push_back(r < first ? 0 : 1);
  hydrofoil::test::run_as_threads(
      ranks,
      [&](int rank) {
        std::vector<Network> joined;
        for (size_t n = 0; n < networks.size(); ++n)
          joined.push_back(
              {networks[n], join_by_messages(boxes[n]->join(rank), {.timeout = timeout}).backend});
        const bool second = rank >= first;
        auto local = hosts[second].backend(rank - (second ? first : 0));
        return Communicator(
            std::make_shared<Group>(std::make_unique<HierarchicalBackend>(
                                        std::move(joined), std::move(local), host_of, tuning),
                                    std::make_shared<Meter>(), "hosts"));
      },
      body);
}

// Every way is taken by something, also between the sizes that one program uses.
constexpr const char* kScript =
    "home shm+b\n"
    "all_reduce 64 a\nall_reduce 4096 shm+b\nall_reduce 500000 b\nall_reduce more shm+a\n"
    "reduce_scatter 1000 b\nreduce_scatter more a\n"
    "all_gather 1000 shm+a\nall_gather more b\n"
    "broadcast 1000 a\nbroadcast more shm+b\n"
    "all_to_all more b\n";

// The groups of a script are those of two hosts of `ranks`; others measure.
inline Tuning scripted(int ranks, const std::string& script = kScript) {
  Tuning tuning{"test", std::make_shared<ChoiceStore>("")};
  const int first = (ranks + 1) / 2;
  tuning.store->keep("test; ranks " + std::to_string(first) + " " + std::to_string(ranks - first) +
                         "; ways shm+a a shm+b b",
                     script, false);
  return tuning;
}

// As one rank of several on this host, started by hand.
inline Processes::Join join_over(const std::string& backend) {
  return [backend](const std::string& job, int rank, int ranks, std::chrono::milliseconds timeout) {
    LaunchEnvironment environment;
    environment.rank = environment.local_rank = rank;
    environment.size = environment.local_size = ranks;
    environment.job = job;
    return connect(environment, {.backend = backend, .timeout = timeout});
  };
}

inline bool in_this_build(const std::string& module) {
  return std::filesystem::exists(HYDROFOIL_MODULES "/libhydrofoil_" + module + ".so");
}

// This process is a rank that a launcher has started (launched_test.cpp): it connects once.
inline void run_launched(const Body& body) {
  static const Communicator world = connect(detect(process_environment()));
  body(world.split(0, world.rank(), "world"));
}

// Expectations inside the body count wherever it runs.
inline void run(const World& world, const Body& body,
                std::chrono::milliseconds timeout = std::chrono::minutes(2)) {
  if (world.over == Over::kThread) return hydrofoil::test::run_ranks(world.ranks, body, timeout);
  if (world.over == Over::kMessages) return run_over_messages(world.ranks, body, timeout);
  if (world.over == Over::kHosts) return run_on_two_hosts(world.ranks, {"net"}, {}, body, timeout);
  if (world.over == Over::kTuned)
    return run_on_two_hosts(world.ranks, {"a", "b"}, scripted(world.ranks), body, timeout);
  if (world.over == Over::kNccl) return run_over_nccl(world.ranks, body, timeout);
  if (world.over == Over::kLaunched) return run_launched(body);
  if (world.over == Over::kGloo) backends();  // loads libtorch once, for all children
  Processes processes(world.ranks, body, timeout,
                      join_over(world.over == Over::kGloo ? "gloo" : "shm"));
  for (int r = 0; r < world.ranks; ++r) EXPECT_EQ(processes.wait(r), 0) << "rank " << r;
}

inline std::vector<World> worlds(const std::vector<int>& sizes) {
  const auto launched = detect(process_environment());
  if (launched.size > 1) return {{Over::kLaunched, launched.size}};
  std::vector<World> all;
  for (const int n : sizes) all.push_back({Over::kThread, n});
  for (const int n : sizes)
    if (n == 1 || n == 3) all.push_back({Over::kMessages, n});
  for (const int n : sizes)
    if (n > 2) all.push_back({Over::kHosts, n});
  for (const int n : sizes)
    if (n > 2) all.push_back({Over::kTuned, n});
  for (const int n : sizes)
    if (n == 2 || n == 3) all.push_back({Over::kNccl, n});
#ifndef __SANITIZE_THREAD__  // it cannot follow memory that processes share
  for (const int n : sizes) all.push_back({Over::kShm, n});
  if (in_this_build("gloo")) all.push_back({Over::kGloo, 3});
#endif
  return all;
}

// A suite named by its backend and number of ranks: "Collectives.AllGatherConcatenates/Shm3".
class WithWorld : public ::testing::TestWithParam<World> {
 protected:
  int ranks() const { return GetParam().ranks; }
  void run(const Body& body, std::chrono::milliseconds timeout = std::chrono::minutes(2)) const {
    test::run(GetParam(), body, timeout);
  }
};

// The Error that a call ends with; an empty one when it does not.
struct Caught {
  ExitCode code = ExitCode::kOk;
  std::string line;
};
inline Caught error_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const Error& error) {
    return {error.code(), error.line()};
  }
  return {};
}

template <class T>
struct TypeOf;
struct BF16 {
  uint16_t bits;
};
template <>
struct TypeOf<float> {
  static constexpr DType value = DType::kF32;
};
template <>
struct TypeOf<BF16> {
  static constexpr DType value = DType::kBF16;
};
template <>
struct TypeOf<_Float16> {
  static constexpr DType value = DType::kF16;
};
template <>
struct TypeOf<int64_t> {
  static constexpr DType value = DType::kI64;
};
template <>
struct TypeOf<uint8_t> {
  static constexpr DType value = DType::kU8;
};

inline float widen(float v) {
  return v;
}
inline float widen(BF16 v) {
  return from_bf16(v.bits);
}
inline float widen(_Float16 v) {
  return static_cast<float>(v);
}
inline int64_t widen(int64_t v) {
  return v;
}
inline uint8_t widen(uint8_t v) {
  return v;
}
template <class T, class A>
T narrow(A v) {
  if constexpr (std::is_same_v<T, BF16>)
    return {to_bf16(v)};
  else
    return static_cast<T>(v);
}

// Values repeat after a prime number of elements, so that large references cost little to make.
constexpr size_t kPeriod = 8209;

// Element i of what rank r holds: magnitudes differ, so that the order of a sum shows in its bits.
template <class T>
T element(int rank, size_t i) {
  i %= kPeriod;
  uint64_t x = (static_cast<uint64_t>(rank) + 1) * 0x9e3779b97f4a7c15 + i * 0xbf58476d1ce4e5b9;
  x = (x ^ x >> 31) * 0x94d049bb133111eb;
  x ^= x >> 29;
  if constexpr (std::is_integral_v<T>) return static_cast<T>(x);
  const float fraction = static_cast<float>(x >> 40) / static_cast<float>(1 << 24) - 0.5f;
  return narrow<T>(fraction * static_cast<float>(1 << (x & 7)));
}

template <class A>
A plus(A a, A b) {
  if constexpr (std::is_integral_v<A>)  // wraps around
    return static_cast<A>(static_cast<uint64_t>(a) + static_cast<uint64_t>(b));
  else
    return a + b;
}

// The reference: one element at a time, ranks in order; kPeriod elements.
template <class T>
std::vector<T> reduced(int ranks, Reduce op) {
  std::vector<T> result;
  for (size_t i = 0; i < kPeriod; ++i) {
    auto sum = widen(element<T>(0, i));
    for (int r = 1; r < ranks; ++r) {
      const auto next = widen(element<T>(r, i));
      if (op == Reduce::kSum)
        sum = plus(sum, next);
      else
        sum = op == Reduce::kMax ? std::max(sum, next) : std::min(sum, next);
    }
    result.push_back(narrow<T>(sum));
  }
  return result;
}

template <class T>
std::vector<T> elements(int rank) {
  std::vector<T> result;
  for (size_t i = 0; i < kPeriod; ++i) result.push_back(element<T>(rank, i));
  return result;
}

enum class Memory { kPrivate, kShared };

// `count` elements in memory of either kind.
template <class T>
class Values {
 public:
  Values(const Communicator& group, Memory memory, size_t count) : count_(count) {
    if (memory == Memory::kShared)
      shared_ = group.alloc(count * sizeof(T));
    else
      private_.resize(count * sizeof(T) + 1);
  }
  T* data() { return reinterpret_cast<T*>(shared_ ? shared_.get() : private_.data()); }
  T& operator[](size_t i) { return data()[i]; }
  size_t size() const { return count_; }
  operator Buffer() { return {data(), count_, TypeOf<T>::value}; }       // NOLINT
  operator ConstBuffer() { return {data(), count_, TypeOf<T>::value}; }  // NOLINT
  Buffer part(int rank, size_t count) {
    return {data() + static_cast<size_t>(rank) * count, count, TypeOf<T>::value};
  }

 private:
  size_t count_;
  SharedBytes shared_;
  std::vector<std::byte> private_;
};

template <class T>
void fill(T* values, size_t count, const std::vector<T>& period) {
  for (size_t i = 0; i < count; ++i) values[i] = period[i % kPeriod];
}

// Index of the first element whose bits differ from the period, which begins at `first`; -1: none.
template <class T>
int64_t first_wrong(const T* values, size_t count, const std::vector<T>& period, size_t first = 0) {
  for (size_t i = 0; i < count; ++i)
    if (std::memcmp(&values[i], &period[(first + i) % kPeriod], sizeof(T)) != 0)
      return static_cast<int64_t>(i);
  return -1;
}

}  // namespace hydrofoil::comm::test
