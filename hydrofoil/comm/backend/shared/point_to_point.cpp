// SPDX-License-Identifier: Apache-2.0
// send and recv: one ring of slots for each (source, destination) pair, in the source's memory. A
// message fills as many slots as it needs (an empty one a single slot); each slot begins with what
// the message is, so that the receiver notices when it expects another.
#include <algorithm>
#include <cstring>

#include "hydrofoil/comm/backend/shared/shared_backend.h"
#include "hydrofoil/kernels/reduce.h"

namespace hydrofoil::comm {
namespace {

constexpr size_t kPayloadBytes = kRingSlotBytes - sizeof(Message);

}  // namespace

void SharedBackend::do_send(Call& call, ConstBuffer data, int to) {
  Counter& filled = mine().head(to).slots;
  const Counter& emptied = part(to).tail(rank()).slots;
  const size_t total = data.bytes();
  size_t at = 0;
  do {
    const uint64_t slot = filled.get();
    if (slot >= kRingSlots) fabric_->wait_for(emptied, slot - kRingSlots + 1, world_rank(to), call);
    std::byte* place = mine().ring_slot(to, slot);
    const Message message{.count = data.count, .type = data.type};
    std::memcpy(place, &message, sizeof message);
    const size_t n = std::min(kPayloadBytes, total - at);
    if (n)
      kernels::copy_bytes(place + sizeof message, static_cast<const std::byte*>(data.data) + at, n,
                          false);
    at += n;
    filled.set(slot + 1);
  } while (at < total);
}

void SharedBackend::do_recv(Call& call, Buffer data, int from) {
  const Counter& filled = part(from).head(rank()).slots;
  Counter& emptied = mine().tail(from).slots;
  const size_t total = data.bytes();
  size_t at = 0;
  do {
    const uint64_t slot = emptied.get();
    fabric_->wait_for(filled, slot + 1, world_rank(from), call);
    const std::byte* place = part(from).ring_slot(rank(), slot);
    Message message;
    std::memcpy(&message, place, sizeof message);
    if (message.count != data.count || message.type != data.type)
      fabric_->fail(ExitCode::kError, fabric_->label(world_rank(from)) + " sent " +
                                          std::to_string(message.count) + " " +
                                          std::string(name_of(message.type)) + " where " +
                                          fabric_->label(fabric_->rank()) + " called " +
                                          describe_in_full(call.record));
    const size_t n = std::min(kPayloadBytes, total - at);
    if (n)
      kernels::copy_bytes(static_cast<std::byte*>(data.data) + at, place + sizeof message, n,
                          false);
    at += n;
    emptied.set(slot + 1);
  } while (at < total);
}

}  // namespace hydrofoil::comm
