// SPDX-License-Identifier: Apache-2.0
// Whatever goes wrong on one rank ends every rank, with an error that names the culprit.
#include <signal.h>
#include <sys/mman.h>

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <thread>

#include "hydrofoil/comm/backend/shared/fabric.h"
#include "hydrofoil/comm/flight_recorder.h"
#include "tests/comm/harness.h"

namespace hydrofoil::comm::test::failure_test {
namespace {

using std::chrono::milliseconds;

const Label kLabel{Purpose::kGradients, "layers.3"};

void reduce_one(const Communicator& group, Label label = kLabel) {
  float value = 1;
  group.all_reduce({&value, 1, DType::kF32}, Reduce::kSum, label);
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

class Failures : public WithWorld {};

TEST_P(Failures, AbortEndsPendingAndLaterCallsOfAll) {
  run([](const Communicator& world) {
    // A failure ends what is under way anywhere: also a first call that others have done.
    const auto caught = error_of([&] {
      world.barrier();
      if (world.rank() == 1) world.abort("the disk is full");
      for (;;) reduce_one(world);
    });
    EXPECT_EQ(caught.code, ExitCode::kPeerFailed);
    EXPECT_TRUE(contains(caught.line, "the disk is full")) << caught.line;
    EXPECT_TRUE(contains(caught.line, "rank 1")) << caught.line;
    EXPECT_EQ(error_of([&] { world.barrier(); }).line, caught.line);
    EXPECT_EQ(error_of([&] { world.split(0, 0, "late"); }).line, caught.line);
  });
}

TEST_P(Failures, AnAsynchronousFailureIsThrownByWait) {
  run([](const Communicator& world) {
    float value = 1;
    const auto caught = error_of([&] {
      world.barrier();
      const Work work = world.rank() == 1 ? Work()
                                          : world.all_reduce({&value, 1, DType::kF32}, Reduce::kSum,
                                                             kLabel, Issue::kAsync);
      if (world.rank() == 1) world.abort("no more");
      work.wait();
      world.barrier();
    });
    EXPECT_TRUE(contains(caught.line, "no more")) << caught.line;
  });
}

TEST_P(Failures, DifferentOperationsAreNamedOnBothSides) {
  run([](const Communicator& world) {
    const auto caught = error_of([&] {
      reduce_one(world);
      if (world.rank() == 1)
        world.barrier({Purpose::kControl, "end of step"});
      else
        reduce_one(world);
    });
    EXPECT_EQ(caught.code, ExitCode::kError);
    EXPECT_TRUE(contains(caught.line, "barrier 'end of step' (control, group world, call 2)"))
        << caught.line;
    EXPECT_TRUE(
        contains(caught.line, "all_reduce 'layers.3' of 1 F32 (gradients, group world, call 2)"))
        << caught.line;
  });
}

TEST_P(Failures, DifferentSizesTypesAndNamesAreNoticed) {
  using Call = std::function<void(const Communicator&)>;
  std::vector<float> data(100'000);
  const auto reduce = [&](size_t count, DType type, std::string_view name) -> Call {
    return [&data, count, type, name](const Communicator& world) {
      std::vector<float> own = data;
      world.all_reduce({own.data(), count, type}, Reduce::kSum, {Purpose::kLoss, name});
    };
  };
  const Call reference = reduce(90'000, DType::kF32, "loss");
  for (const auto& other : {reduce(89'999, DType::kF32, "loss"), reduce(3, DType::kF32, "loss"),
                            reduce(90'000, DType::kI32, "loss"), reduce(90'000, DType::kF32, "x")})
    run([&](const Communicator& world) {
      const auto caught = error_of([&] { (world.rank() == 1 ? other : reference)(world); });
      EXPECT_EQ(caught.code, ExitCode::kError);
      EXPECT_TRUE(contains(caught.line, " where rank ")) << caught.line;
    });
}

// What one rank does otherwise than the others: five ways to diverge, with what all must say.
struct Divergence {
  const char* what;
  std::function<void(const Communicator& world, const Communicator& twin, bool odd)> body;
  ExitCode code;
  std::vector<const char*> parts;
};

const std::vector<Divergence>& divergences() {
  const auto reduce = [](const Communicator& group, const char* name, Reduce op = Reduce::kSum) {
    float value = 1;
    group.all_reduce({&value, 1, DType::kF32}, op, {Purpose::kGradients, name});
  };
  static const std::vector<Divergence> all{
      {"a missing call",
       [reduce](const Communicator& world, const Communicator&, bool odd) {
         if (!odd) reduce(world, "layers.1");
         reduce(world, "layers.2");
       },
       ExitCode::kError,
       {"all_reduce 'layers.1'", "all_reduce 'layers.2'", " where rank "}},
      {"another order",
       [reduce](const Communicator& world, const Communicator&, bool odd) {
         reduce(world, odd ? "layers.2" : "layers.1");
         reduce(world, odd ? "layers.1" : "layers.2");
       },
       ExitCode::kError,
       {"all_reduce 'layers.1'", "all_reduce 'layers.2'", " where rank "}},
      {"another reduction",
       [reduce](const Communicator& world, const Communicator&, bool odd) {
         reduce(world, "layers.1", odd ? Reduce::kMax : Reduce::kSum);
       },
       ExitCode::kError,
       {"(gradients, max, group world", "(gradients, group world", " where rank "}},
      {"another group",
       [reduce](const Communicator& world, const Communicator& twin, bool odd) {
         reduce(odd ? twin : world, odd ? "layers.2" : "layers.1");
       },
       ExitCode::kTimeout,
       {"waited 1500 ms for rank ", "it was last in all_reduce 'layers."}},
      {"no call at all",
       [reduce](const Communicator& world, const Communicator&, bool odd) {
         if (!odd) reduce(world, "layers.1");
       },
       ExitCode::kPeerFailed,
       {"rank 1", " ended while rank ", "all_reduce 'layers.1' (gradients); its last call was"}},
  };
  return all;
}

TEST_P(Failures, EveryDivergenceIsNamed) {
  for (const auto& divergence : divergences())
    run(
        [&](const Communicator& world) {
          const bool odd = world.rank() == 1;
          const auto caught = error_of([&] {
            const Communicator twin = world.split(0, world.rank(), "twin");
            divergence.body(world, twin, odd);
          });
          if (odd && divergence.code == ExitCode::kPeerFailed) return;  // it goes its way
          EXPECT_EQ(caught.code, divergence.code) << divergence.what << ": " << caught.line;
          for (const char* part : divergence.parts)
            EXPECT_TRUE(contains(caught.line, part)) << divergence.what << ": " << caught.line;
        },
        divergence.code == ExitCode::kTimeout ? milliseconds(1500) : milliseconds(60'000));
}

TEST_P(Failures, AMessageOfAnotherSizeIsNoticed) {
  run([](const Communicator& world) {
    if (world.rank() > 1) return;
    uint8_t data[20] = {};
    const auto caught = error_of([&] {
      if (world.rank() == 0)
        world.send({data, 20, DType::kU8}, 1, kLabel);
      else
        world.recv({data, 19, DType::kU8}, 0, kLabel);
      for (;;) world.send({data, 20, DType::kU8}, 1 - world.rank(), kLabel);
    });
    EXPECT_EQ(caught.code, ExitCode::kError);
    EXPECT_TRUE(contains(caught.line, "sent 20 U8")) << caught.line;
    EXPECT_TRUE(contains(caught.line, "recv 'layers.3' of 19 U8")) << caught.line;
  });
}

TEST_P(Failures, DisagreeingAllToAllCountsAreNoticed) {
  run([](const Communicator& world) {
    const auto n = static_cast<size_t>(world.size());
    std::vector<int64_t> in(3 * n), out(4 * n);
    const std::vector<size_t> send(n, 3), recv(n, world.rank() == 0 ? 4 : 3);
    const auto caught = error_of([&] {
      world.all_to_all({in.data(), in.size(), DType::kI64}, send,
                       {out.data(), recv[0] * n, DType::kI64}, recv, kLabel);
      world.barrier();
    });
    EXPECT_TRUE(contains(caught.line, "sends 3 elements to rank 0")) << caught.line;
    EXPECT_TRUE(contains(caught.line, "expects 4")) << caught.line;
  });
}

TEST_P(Failures, ARankThatLeftIsNamedWithItsLastCall) {
  run([](const Communicator& world) {
    reduce_one(world, {Purpose::kLoss, "last"});
    if (world.rank() == 1) return;
    const auto caught = error_of([&] { reduce_one(world); });
    EXPECT_EQ(caught.code, ExitCode::kPeerFailed);
    EXPECT_TRUE(contains(caught.line, "rank 1")) << caught.line;
    EXPECT_TRUE(contains(caught.line, "its last call was all_reduce 'last' (loss)")) << caught.line;
    EXPECT_TRUE(contains(caught.line, "all_reduce 'layers.3' (gradients)")) << caught.line;
  });
}

TEST_P(Failures, TheTimeoutSaysWhatAMissingRankIsBusyWith) {
  run(
      [](const Communicator& world) {
        const Activity step(world.flight_ring(), "step 12");
        if (world.rank() == 1) {
          const Activity unit(world.flight_ring(), "forward of layers.7");
          std::this_thread::sleep_for(milliseconds(1800));  // busy for longer than the others wait
          EXPECT_EQ(error_of([&] { reduce_one(world); }).code, ExitCode::kTimeout);
          return;
        }
        const auto busy = [&] {
          const auto calls = world.recent_calls(1);
          return std::any_of(calls.begin(), calls.end(), [](const auto& call) {
            return call.label_name() == "forward of layers.7";
          });
        };
        while (!busy()) std::this_thread::yield();
        const auto caught = error_of([&] { reduce_one(world); });
        EXPECT_EQ(caught.code, ExitCode::kTimeout);
        EXPECT_TRUE(contains(caught.line, "it was last in forward of layers.7")) << caught.line;
      },
      milliseconds(600));
}

TEST_P(Failures, ALeftRankIsNotMissedByThoseWhoNeedNothingOfIt) {
  run([](const Communicator& world) {
    const Communicator rest = world.split(world.rank() == 1, 0, "rest");
    if (world.rank() == 1) return;
    for (int i = 0; i < 100; ++i) reduce_one(rest);
  });
}

TEST_P(Failures, TheTimeoutNamesTheRankThatHoldsUpAll) {
  // Rank 1 waits for rank 0 to publish, which never happens; the others wait for rank 1.
  run(
      [](const Communicator& world) {
        const Window window = world.window(8, "unit");
        std::byte out[8];
        const auto caught = error_of([&] {
          if (world.rank() == 1) window.read(0, 1, 0, out, {Purpose::kParameters, "embedding"});
          world.barrier({Purpose::kControl, "end"});
        });
        EXPECT_EQ(caught.code, ExitCode::kTimeout);
        EXPECT_TRUE(contains(caught.line, "1500 ms")) << caught.line;
        EXPECT_TRUE(contains(caught.line, "read 'embedding' (parameters)")) << caught.line;
      },
      milliseconds(1500));
}

#ifndef __SANITIZE_THREAD__  // it puts signal handlers off

// A page whose first reader is held up.
class LatePage {
 public:
  explicit LatePage(const std::string& text)
      : bytes_(static_cast<char*>(
            mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0))) {
    text.copy(bytes_, kBytes);
    mprotect(bytes_, kBytes, PROT_NONE);
    late_ = bytes_;
    struct sigaction action = {};
    action.sa_handler = [](int) {
      std::this_thread::sleep_for(milliseconds(100));
      mprotect(late_, kBytes, PROT_READ);
    };
    sigaction(SIGSEGV, &action, &before_);
  }
  ~LatePage() {
    sigaction(SIGSEGV, &before_, nullptr);
    munmap(bytes_, kBytes);
  }
  LatePage(const LatePage&) = delete;
  LatePage& operator=(const LatePage&) = delete;
  const char* bytes() const { return bytes_; }

 private:
  static constexpr size_t kBytes = 4096;
  inline static char* late_ = nullptr;
  char* const bytes_;
  struct sigaction before_ = {};
};

// Who reports a failure may lose its core in the midst: it has not died.
TEST(FailureSlot, WaitsForAReportThatIsUnderWay) {
  const std::string text = "the disk is full";
  const LatePage page(text);
  FailureSlot slot{};
  std::thread writer(
      [&] { slot.record(ExitCode::kError, std::string_view(page.bytes(), text.size()), ""); });
  while (!slot.present()) std::this_thread::yield();
  EXPECT_EQ(error_of([&] { slot.raise(); }).line, text);
  writer.join();
}

#endif

// A thread that waits for a call another thread makes is no news: whom that call waits for is.
TEST(LastSeen, PrefersTheCallThatWaitsForARank) {
  CallRecord call, wait;
  call.op = Operation::kReduceScatter, wait.op = Operation::kActivity;
  call.phase = wait.phase = CallPhase::kStarted;
  EXPECT_EQ(last_seen({call, wait})->op, Operation::kActivity);
  call.waits_for = 2;
  EXPECT_EQ(last_seen({call, wait})->op, Operation::kReduceScatter);
  call.phase = CallPhase::kDone;
  EXPECT_EQ(last_seen({call, wait})->op, Operation::kActivity);
}

// A rank whose call timed out a moment ago is still in the step around it, and that is no news.
TEST(LastSeen, PrefersTheCallThatFailedToWhatItWasPartOf) {
  CallRecord step, call;
  step.op = Operation::kActivity, call.op = Operation::kAllReduce;
  step.phase = CallPhase::kStarted, call.phase = CallPhase::kFailed;
  EXPECT_EQ(last_seen({step, call})->op, Operation::kAllReduce);
}

TEST_P(Failures, TheRecordTellsWhatEveryRankDid) {
  run([](const Communicator& world) {
    for (int i = 0; i < 300; ++i) reduce_one(world);
    world.barrier({Purpose::kControl, "here"});
    world.barrier();
    for (int r = 0; r < world.size(); ++r) {
      const auto calls = world.recent_calls(r);
      ASSERT_GE(calls.size(), FlightRing::kCalls - 1);
      const auto here = std::find_if(calls.begin(), calls.end(),
                                     [](const auto& c) { return c.label_name() == "here"; });
      ASSERT_NE(here, calls.end());
      EXPECT_EQ(here->phase, CallPhase::kDone);
      EXPECT_EQ(here->group_sequence, 301u);
      EXPECT_LE(here->issued_ns, here->started_ns);
      EXPECT_LE(here->started_ns, here->done_ns);
    }
    world.barrier();
  });
}

INSTANTIATE_TEST_SUITE_P(, Failures, ::testing::ValuesIn(worlds({2, 3, 4})),
                         ::testing::PrintToStringParamName());

}  // namespace
}  // namespace hydrofoil::comm::test::failure_test
