// SPDX-License-Identifier: Apache-2.0
// A stand-in for NCCL and the CUDA run-time library, both in one file: as much of them as is used,
// on the memory of this process, whose threads are the ranks. Stricter than the real ones: a
// pointer of the host where the device's belongs, another device than the communicator's and a
// device that two ranks take are errors.
#include <array>
#include <condition_variable>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <utility>
#include <vector>

#define NCCL_DOUBLE_API extern "C" __attribute__((visibility("default")))

namespace {

constexpr int kDevices = 8;
constexpr int kInvalidValue = 1, kNotReady = 600;       // cudaError_t
constexpr int kInvalidArgument = 4, kInvalidUsage = 5;  // ncclResult_t

struct Id {
  std::array<char, 128> bytes;
};

// Ranks that share an id. Messages wait by (from, to).
struct World {
  int size = 0, joined = 0;
  std::set<int> devices;
  std::map<std::pair<int, int>, std::deque<std::vector<std::byte>>> messages;
};
struct Comm {
  std::shared_ptr<World> world;
  int rank = 0, device = 0;
};
struct Allocation {
  size_t bytes = 0;
  int device = 0;
};
// What waits for its turn; each says whether it is done.
struct Stream {
  std::deque<std::function<bool()>> operations;
  bool drained() {
    while (!operations.empty() && operations.front()()) operations.pop_front();
    return operations.empty();
  }
};

std::mutex mutex;  // of everything
std::condition_variable changed;
std::map<std::array<char, 128>, std::shared_ptr<World>> worlds;
std::map<const std::byte*, Allocation> allocations;
int next_id = 0;

thread_local int device = 0;
thread_local int depth = 0;  // of groups
thread_local std::vector<std::pair<Stream*, std::function<bool()>>> sends, receives;

bool on_device(const void* data, size_t bytes) {
  const auto* begin = static_cast<const std::byte*>(data);
  auto after = allocations.upper_bound(begin);
  if (after == allocations.begin()) return false;
  const auto& [start, allocation] = *--after;
  return begin + bytes <= start + allocation.bytes && allocation.device == device;
}

}  // namespace

NCCL_DOUBLE_API int ncclGetVersion(int* version) {
  *version = 22703;
  return 0;
}
NCCL_DOUBLE_API const char* ncclGetErrorString(int result) {
  return result == kInvalidUsage ? "invalid usage" : "invalid argument";
}

NCCL_DOUBLE_API int ncclGetUniqueId(Id* id) {
  const std::lock_guard lock(mutex);
  *id = {};
  std::memcpy(id->bytes.data(), &++next_id, sizeof next_id);
  return 0;
}

NCCL_DOUBLE_API int ncclCommInitRank(void** comm, int ranks, Id id, int rank) {
  std::unique_lock lock(mutex);
  auto& world = worlds[id.bytes];
  if (!world) world = std::make_shared<World>();
  world->size = ranks;
  if (!world->devices.insert(device).second) return kInvalidUsage;
  *comm = new Comm{world, rank, device};
  ++world->joined;
  changed.notify_all();
  changed.wait(lock, [&, mine = world] { return mine->joined >= mine->size; });
  return 0;
}
NCCL_DOUBLE_API int ncclCommDestroy(void* comm) {
  const std::lock_guard lock(mutex);
  delete static_cast<Comm*>(comm);
  return 0;
}
NCCL_DOUBLE_API int ncclCommAbort(void* comm) {
  return ncclCommDestroy(comm);
}
NCCL_DOUBLE_API int ncclCommGetAsyncError(void*, int* result) {
  *result = 0;
  return 0;
}

NCCL_DOUBLE_API int ncclGroupStart() {
  ++depth;
  return 0;
}
// All of a group is under way at once: its sends first, as receives may wait for them.
NCCL_DOUBLE_API int ncclGroupEnd() {
  if (depth == 0) return kInvalidUsage;
  if (--depth > 0) return 0;
  const std::lock_guard lock(mutex);
  for (auto* part : {&sends, &receives}) {
    for (auto& [stream, operation] : *part) stream->operations.push_back(std::move(operation));
    part->clear();
  }
  return 0;
}

NCCL_DOUBLE_API int ncclSend(const void* data, size_t count, int, int to, void* comm,
                             void* stream) {
  const std::lock_guard lock(mutex);
  const Comm& c = *static_cast<Comm*>(comm);
  if (depth == 0 || c.device != device || !on_device(data, count)) return kInvalidArgument;
  const auto* begin = static_cast<const std::byte*>(data);
  sends.emplace_back(static_cast<Stream*>(stream), [=, world = c.world, from = c.rank] {
    world->messages[{from, to}].emplace_back(begin, begin + count);
    return true;
  });
  return 0;
}
NCCL_DOUBLE_API int ncclRecv(void* data, size_t count, int, int from, void* comm, void* stream) {
  const std::lock_guard lock(mutex);
  const Comm& c = *static_cast<Comm*>(comm);
  if (depth == 0 || c.device != device || !on_device(data, count)) return kInvalidArgument;
  receives.emplace_back(static_cast<Stream*>(stream), [=, world = c.world, to = c.rank] {
    auto& queue = world->messages[{from, to}];
    if (queue.empty()) return false;
    if (queue.front().size() != count) std::abort();  // the real one would hang, or do worse
    std::memcpy(data, queue.front().data(), count);
    queue.pop_front();
    return true;
  });
  return 0;
}

NCCL_DOUBLE_API int cudaGetDeviceCount(int* count) {
  *count = kDevices;
  return 0;
}
NCCL_DOUBLE_API int cudaSetDevice(int number) {
  if (number < 0 || number >= kDevices) return kInvalidValue;
  device = number;
  return 0;
}
NCCL_DOUBLE_API const char* cudaGetErrorString(int error) {
  return error == kNotReady ? "device not ready" : "invalid argument";
}
NCCL_DOUBLE_API int cudaMalloc(void** data, size_t bytes) {
  const std::lock_guard lock(mutex);
  *data = std::malloc(bytes);
  allocations[static_cast<std::byte*>(*data)] = {bytes, device};
  return 0;
}
NCCL_DOUBLE_API int cudaFree(void* data) {
  const std::lock_guard lock(mutex);
  if (allocations.erase(static_cast<std::byte*>(data)) == 0) return kInvalidValue;
  std::free(data);
  return 0;
}
NCCL_DOUBLE_API int cudaStreamCreateWithFlags(void** stream, unsigned) {
  *stream = new Stream;
  return 0;
}
NCCL_DOUBLE_API int cudaStreamDestroy(void* stream) {
  delete static_cast<Stream*>(stream);
  return 0;
}
NCCL_DOUBLE_API int cudaStreamQuery(void* stream) {
  const std::lock_guard lock(mutex);
  return static_cast<Stream*>(stream)->drained() ? 0 : kNotReady;
}
NCCL_DOUBLE_API int cudaStreamSynchronize(void* stream) {
  while (cudaStreamQuery(stream) == kNotReady) {
  }
  return 0;
}
NCCL_DOUBLE_API int cudaMemcpyAsync(void* to, const void* from, size_t bytes, int kind,
                                    void* stream) {
  const std::lock_guard lock(mutex);
  const bool to_device = kind == 1;
  if (on_device(to, bytes) != to_device || on_device(from, bytes) == to_device)
    return kInvalidValue;
  static_cast<Stream*>(stream)->operations.emplace_back([=] {
    std::memcpy(to, from, bytes);
    return true;
  });
  static_cast<Stream*>(stream)->drained();
  return 0;
}
