// SPDX-License-Identifier: Apache-2.0
// Random programs of calls on 2 to 4 ranks, in half of which one rank does something else at one
// place. Whatever it is, every rank must come to an end, and without an error where all did the
// same.
#pragma once

#include <atomic>
#include <random>
#include <vector>

#include "tests/comm/harness.h"

namespace hydrofoil::comm::test {

class Schedule {
 public:
  enum class Slip { kNone, kSkip, kTwice, kCount, kType, kReduction, kGroup, kLeave, kAbort };

  explicit Schedule(uint64_t seed) : dice_(seed) {
    ranks_ = 2 + below(3);
    const int calls = 1 + below(12);
    for (int i = 0; i < calls; ++i)
      calls_.push_back({below(6), 1 + below(3000), below(2) == 1, below(2) == 1, below(ranks_)});
    if (below(2) == 1) return;
    slip_ = static_cast<Slip>(1 + below(8));
    odd_ = below(ranks_);
    place_ = below(calls);
  }

  // Number of ranks that ended with an error.
  int play() const {
    std::atomic<int> failed{0};
    const auto timeout =
        slip_ == Slip::kNone ? std::chrono::milliseconds(60'000) : std::chrono::milliseconds(150);
    const ThreadWorld world(ranks_, timeout);
    std::vector<std::thread> threads;
    for (int r = 0; r < ranks_; ++r)
      threads.emplace_back([&, r] {
        try {
          play_rank(world.rank(r));
        } catch (const Error&) {
          ++failed;
        }
      });
    for (auto& thread : threads) thread.join();
    return failed;
  }
  bool diverges() const { return slip_ != Slip::kNone; }

 private:
  struct Planned {
    int op, count;
    bool twin, async;
    int root;
  };

  int below(int n) { return static_cast<int>(dice_() % static_cast<uint64_t>(n)); }

  void play_rank(const Communicator& world) const {
    const Communicator twin = world.split(0, world.rank(), "twin");
    std::vector<std::vector<float>> kept;  // alive until the asynchronous calls are done
    std::vector<Work> works;
    struct Wait {  // also where this rank fails
      ~Wait() {
        for (const Work& work : works) try {
            work.wait();
          } catch (const Error&) {  // it has been thrown where it matters
          }
      }
      std::vector<Work>& works;
    } const wait_for_all{works};
    for (int i = 0; i < static_cast<int>(calls_.size()); ++i) {
      Planned call = calls_[static_cast<size_t>(i)];
      const bool odd = world.rank() == odd_ && i == place_;
      const Slip slip = odd ? slip_ : Slip::kNone;
      if (slip == Slip::kSkip) continue;
      if (slip == Slip::kLeave) return;
      if (slip == Slip::kAbort) world.abort("a slip");
      if (slip == Slip::kCount) call.count += 1;
      if (slip == Slip::kGroup) call.twin = !call.twin;
      for (int times = slip == Slip::kTwice ? 2 : 1; times > 0; --times)
        works.push_back(issue(call.twin ? twin : world, call, slip, kept));
    }
    for (const Work& work : works) work.wait();
  }

  static Work issue(const Communicator& group, const Planned& call, Slip slip,
                    std::vector<std::vector<float>>& kept) {
    const auto n = static_cast<size_t>(group.size()), count = static_cast<size_t>(call.count);
    float* part = kept.emplace_back(count, 1.0F).data();
    float* whole = kept.emplace_back(n * count, 1.0F).data();
    const DType type = slip == Slip::kType ? DType::kI32 : DType::kF32;
    const Reduce op = slip == Slip::kReduction ? Reduce::kMax : Reduce::kSum;
    const Buffer small{part, count, type}, large{whole, n * count, type};
    const Issue issue = call.async ? Issue::kAsync : Issue::kInline;
    const Label label{Purpose::kGradients, "fuzz"};
    const std::vector<size_t> counts(n, count);
    std::vector<float> received(n * count);
    switch (call.op) {
      case 0:
        return group.all_reduce(small, op, label, issue);
      case 1:
        return group.reduce_scatter(large, small, op, label, issue);
      case 2:
        return group.all_gather(small, large, label, issue);
      case 3:
        return group.broadcast(small, call.root, label, issue);
      case 4:
        group.all_to_all(large, counts, {received.data(), n * count, type}, counts, label);
        return {};
      default:
        group.barrier(label);
        return {};
    }
  }

  std::mt19937_64 dice_;
  int ranks_ = 2;
  std::vector<Planned> calls_;
  Slip slip_ = Slip::kNone;
  int odd_ = -1, place_ = -1;
};

// Plays schedules first, first + 1, ..; each that should not have failed is a failure.
inline void play_schedules(uint64_t first, int count) {
  for (int i = 0; i < count; ++i) {
    const Schedule schedule(first + static_cast<uint64_t>(i));
    const int failed = schedule.play();
    if (!schedule.diverges()) {
      ASSERT_EQ(failed, 0) << "schedule " << first + static_cast<uint64_t>(i);
    }
  }
}

}  // namespace hydrofoil::comm::test
