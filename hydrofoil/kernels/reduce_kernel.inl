// SPDX-License-Identifier: Apache-2.0
// Element-wise reduction of several sources in one pass: each source is read once and the result
// written once, (N + 1) x bytes of traffic with streaming stores and (N + 2) x without (a plain
// store reads the line first). Pairwise passes would move 3 (N - 1) x bytes.
#include "hydrofoil/kernels/reduce_tiers.h"

namespace hydrofoil::kernels::HYDROFOIL_TIER {
namespace {

constexpr size_t kLine = 64;   // bytes
constexpr size_t kUnroll = 4;  // packs in flight, to cover the latency of loads

// How elements of one type are held while they are combined.
template <class T>
struct Exact {
  using Element = T;
  using Stored = Pack<T>;
  using Held = Pack<T>;
  static HYDROFOIL_LANES Held widen(Stored v) { return v; }
  static HYDROFOIL_LANES Stored narrow(Held v) { return v; }
};
struct BrainFloat {
  using Element = uint16_t;
  using Stored = U16;
  using Held = F32;
  static HYDROFOIL_LANES Held widen(Stored v) { return from_bf16(v); }
  static HYDROFOIL_LANES Stored narrow(Held v) { return to_bf16(v); }
};
struct HalfFloat {
  using Element = uint16_t;
  using Stored = U16;
  using Held = F32;
  static HYDROFOIL_LANES Held widen(Stored v) { return from_f16(v); }
  static HYDROFOIL_LANES Stored narrow(Held v) { return to_f16(v); }
};

// A NaN on either side wins: an overflow on one rank must reach all.
struct Sum {
  template <class V>
  static HYDROFOIL_LANES V apply(V a, V b) {
    return a + b;
  }
};
struct Max {
  template <class V>
  static HYDROFOIL_LANES V apply(V a, V b) {
    return (a > b) | (a != a) ? a : b;
  }
};
struct Min {
  template <class V>
  static HYDROFOIL_LANES V apply(V a, V b) {
    return (a < b) | (a != a) ? a : b;
  }
};

HYDROFOIL_LANES const char* at(const void* base, size_t offset) {
  return static_cast<const char*>(base) + offset;
}

// Positions are bytes from here on.
template <class Lane, class Op>
struct Reducer {
  using Stored = typename Lane::Stored;
  using Held = typename Lane::Held;
  char* out;
  const void* const* sources;
  size_t source_count;

  void parts(size_t from, size_t to) const {
    for (size_t n; from < to; from += n) {
      n = to - from < sizeof(Stored) ? to - from : sizeof(Stored);
      Held held = Lane::widen(load_part<Stored>(at(sources[0], from), n));
      for (size_t s = 1; s < source_count; ++s)
        held = Op::apply(held, Lane::widen(load_part<Stored>(at(sources[s], from), n)));
      store_part(out + from, Lane::narrow(held), n);
    }
  }

  // Returns where it stopped: less than kUnroll packs before `to`.
  template <bool stream_out>
  size_t packs(size_t from, size_t to) const {
    constexpr size_t kStep = kUnroll * sizeof(Stored);
    for (; from + kStep <= to; from += kStep) {
      Held held[kUnroll];
      for (size_t k = 0; k < kUnroll; ++k)
        held[k] = Lane::widen(load<Stored>(at(sources[0], from + k * sizeof(Stored))));
      for (size_t s = 1; s < source_count; ++s)
        for (size_t k = 0; k < kUnroll; ++k)
          held[k] = Op::apply(held[k],
                              Lane::widen(load<Stored>(at(sources[s], from + k * sizeof(Stored)))));
      for (size_t k = 0; k < kUnroll; ++k) {
        char* to_pack = out + from + k * sizeof(Stored);
        if constexpr (stream_out)
          stream(to_pack, Lane::narrow(held[k]));
        else
          store(to_pack, Lane::narrow(held[k]));
      }
    }
    return from;
  }
};

template <class Lane, class Op>
void reduce_lanes(void* out, const void* const* sources, size_t source_count, size_t count,
                  bool stream_out) {
  const Reducer<Lane, Op> reducer{static_cast<char*>(out), sources, source_count};
  const size_t bytes = count * sizeof(typename Lane::Element);
  const size_t to_line = -reinterpret_cast<uintptr_t>(out) % kLine;
  if (!stream_out || to_line % sizeof(typename Lane::Element) != 0) {
    reducer.parts(reducer.template packs<false>(0, bytes), bytes);
    return;
  }
  const size_t head = to_line < bytes ? to_line : bytes;
  reducer.parts(0, head);
  reducer.parts(reducer.template packs<true>(head, bytes), bytes);
  stream_fence();
}

// Signed sums wrap around as unsigned ones do: the same bits, and defined.
template <class SumLane, class OrderLane>
void reduce_op(void* out, const void* const* sources, size_t source_count, size_t count,
               Reduction op, bool stream_out) {
  switch (op) {
    case Reduction::kSum:
      return reduce_lanes<SumLane, Sum>(out, sources, source_count, count, stream_out);
    case Reduction::kMax:
      return reduce_lanes<OrderLane, Max>(out, sources, source_count, count, stream_out);
    case Reduction::kMin:
      return reduce_lanes<OrderLane, Min>(out, sources, source_count, count, stream_out);
  }
}

}  // namespace

void reduce(void* out, const void* const* sources, size_t source_count, size_t count,
            ReduceLane lane, Reduction op, bool stream_out) {
  const auto run = [&]<class SumLane, class OrderLane = SumLane>() {
    reduce_op<SumLane, OrderLane>(out, sources, source_count, count, op, stream_out);
  };
  switch (lane) {
    case ReduceLane::kF32:
      return run.template operator()<Exact<float>>();
    case ReduceLane::kF64:
      return run.template operator()<Exact<double>>();
    case ReduceLane::kBF16:
      return run.template operator()<BrainFloat>();
    case ReduceLane::kF16:
      return run.template operator()<HalfFloat>();
    case ReduceLane::kI64:
      return run.template operator()<Exact<uint64_t>, Exact<int64_t>>();
    case ReduceLane::kI32:
      return run.template operator()<Exact<uint32_t>, Exact<int32_t>>();
    case ReduceLane::kI16:
      return run.template operator()<Exact<uint16_t>, Exact<int16_t>>();
    case ReduceLane::kI8:
      return run.template operator()<Exact<uint8_t>, Exact<int8_t>>();
    case ReduceLane::kU8:
      return run.template operator()<Exact<uint8_t>>();
  }
}

void copy_stream(void* to, const void* from, size_t bytes) {
  const size_t to_line = -reinterpret_cast<uintptr_t>(to) % kLine;
  size_t i = to_line < bytes ? to_line : bytes;
  __builtin_memcpy(to, from, i);
  constexpr size_t kStep = 256;
  constexpr size_t kAhead = 1024;  // the hardware's prefetch alone leaves 5 to 10 % (measured)
  for (; i + kStep <= bytes; i += kStep) {
    Pack<uint8_t> held[kStep / kVecBytes];
    for (size_t k = 0; k < kStep; k += kLine) __builtin_prefetch(at(from, i + k + kAhead));
    for (size_t k = 0; k < kStep; k += kVecBytes)
      held[k / kVecBytes] = load<Pack<uint8_t>>(at(from, i + k));
    for (size_t k = 0; k < kStep; k += kVecBytes)
      stream(static_cast<char*>(to) + i + k, held[k / kVecBytes]);
  }
  stream_fence();
  __builtin_memcpy(static_cast<char*>(to) + i, at(from, i), bytes - i);
}

}  // namespace hydrofoil::kernels::HYDROFOIL_TIER
