// SPDX-License-Identifier: Apache-2.0
// Every operation against its definition: backends x ranks x dtypes x sizes x kinds of memory. Sums
// must have the bits of the rank-ordered scalar sum.
#include <numeric>

#include "hydrofoil/comm/meter.h"
#include "tests/comm/harness.h"

namespace hydrofoil::comm::test::collectives_test {
namespace {

const Label kLabel{Purpose::kGradients, "layers.3"};
constexpr size_t kLarge = 2'200'001;  // f32: above 8 MiB, where results bypass the caches

class Collectives : public WithWorld {
 protected:
  // body(T{}, memory, count) over the matrix.
  template <class Case>
  static void matrix(Case body) {
    const auto sizes = [&](auto type, std::initializer_list<size_t> counts) {
      for (const auto memory : {Memory::kPrivate, Memory::kShared})
        for (const size_t count : counts) body(type, memory, count);
    };
    sizes(float{}, {0, 1, 97, 8191, 1'000'003, kLarge});
    sizes(BF16{}, {0, 1, 97, 1'000'003});
    sizes(_Float16{}, {1, 97, 100'003});
    sizes(int64_t{}, {1, 97, 100'003});
    sizes(uint8_t{}, {1, 97, 1'000'003});
  }
};

TEST_P(Collectives, AllReduceHasTheBitsOfTheRankOrderedReduction) {
  run([](const Communicator& world) {
    matrix([&](auto type, Memory memory, size_t count) {
      using T = decltype(type);
      for (const auto op : {Reduce::kSum, Reduce::kMax, Reduce::kMin}) {
        if (op != Reduce::kSum && count > 10'000) continue;
        Values<T> values(world, memory, count);
        fill(values.data(), count, elements<T>(world.rank()));
        world.all_reduce(values, op, kLabel);
        ASSERT_EQ(first_wrong(values.data(), count, reduced<T>(world.size(), op)), -1)
            << name_of(TypeOf<T>::value) << " x " << count;
      }
    });
  });
}

TEST_P(Collectives, ReduceScatterHasTheBitsOfTheRankOrderedSum) {
  run([](const Communicator& world) {
    matrix([&](auto type, Memory memory, size_t total) {
      using T = decltype(type);
      const auto ranks = static_cast<size_t>(world.size());
      const size_t count = (total + ranks - 1) / ranks;
      const size_t first = count * static_cast<size_t>(world.rank());
      const auto expected = reduced<T>(world.size(), Reduce::kSum);
      const auto wrong = [&](T* out) { return first_wrong(out, count, expected, first); };
      Values<T> in(world, memory, count * ranks), out(world, memory, count);
      fill(in.data(), in.size(), elements<T>(world.rank()));
      world.reduce_scatter(in, out, Reduce::kSum, kLabel);
      ASSERT_EQ(wrong(out.data()), -1) << name_of(TypeOf<T>::value) << " x " << count;
      world.reduce_scatter(in, in.part(world.rank(), count), Reduce::kSum, kLabel);
      ASSERT_EQ(wrong(in.data() + first), -1) << "in place, " << count;
    });
  });
}

TEST_P(Collectives, AllGatherConcatenates) {
  run([](const Communicator& world) {
    matrix([&](auto type, Memory memory, size_t total) {
      using T = decltype(type);
      const auto ranks = static_cast<size_t>(world.size());
      const size_t count = (total + ranks - 1) / ranks;
      std::vector<std::vector<T>> sent;
      for (int r = 0; r < world.size(); ++r) sent.push_back(elements<T>(r));
      const auto wrong = [&](Values<T>& all) {  // the rank whose part is wrong
        for (size_t r = 0; r < ranks; ++r)
          if (first_wrong(all.data() + r * count, count, sent[r]) >= 0) return static_cast<int>(r);
        return -1;
      };
      Values<T> in(world, memory, count), out(world, memory, count * ranks);
      fill(in.data(), count, sent[static_cast<size_t>(world.rank())]);
      world.all_gather(in, out, kLabel);
      ASSERT_EQ(wrong(out), -1) << name_of(TypeOf<T>::value) << " x " << count;
      Values<T> whole(world, memory, count * ranks);
      const Buffer own = whole.part(world.rank(), count);
      if (count) std::memcpy(own.data, in.data(), own.bytes());
      world.all_gather(own, whole, kLabel);
      ASSERT_EQ(wrong(whole), -1) << "in place, " << count;
    });
  });
}

TEST_P(Collectives, MixedMemoryGivesTheSameBits) {
  run([](const Communicator& world) {
    for (const size_t count : {size_t{97}, size_t{300'007}}) {
      // One rank's buffer is not readable by the others: all must agree on staging.
      Values<float> values(world, world.rank() == 0 ? Memory::kPrivate : Memory::kShared, count);
      fill(values.data(), count, elements<float>(world.rank()));
      world.all_reduce(values, Reduce::kSum, kLabel);
      ASSERT_EQ(first_wrong(values.data(), count, reduced<float>(world.size(), Reduce::kSum)), -1);
    }
  });
}

TEST_P(Collectives, AllToAllTransposesUnevenParts) {
  run([](const Communicator& world) {
    for (const auto memory : {Memory::kPrivate, Memory::kShared})
      for (const size_t scale : {size_t{0}, size_t{1}, size_t{40'003}}) {
        // From rank s to rank d: (s + 2 d) % 3 * scale elements of (s, d).
        const auto sent = [&](int s, int d) {
          return static_cast<size_t>((s + 2 * d) % 3) * scale;
        };
        std::vector<size_t> send, recv;
        for (int r = 0; r < world.size(); ++r) {
          send.push_back(sent(world.rank(), r));
          recv.push_back(sent(r, world.rank()));
        }
        Values<int64_t> in(world, memory, std::accumulate(send.begin(), send.end(), size_t{0}));
        Values<int64_t> out(world, memory, std::accumulate(recv.begin(), recv.end(), size_t{0}));
        for (size_t at = 0, d = 0; d < send.size(); at += send[d++])
          fill(in.data() + at, send[d],
               elements<int64_t>(world.rank() * 100 + static_cast<int>(d)));
        world.all_to_all(in, send, out, recv, kLabel);
        for (size_t at = 0, s = 0; s < recv.size(); at += recv[s++])
          ASSERT_EQ(first_wrong(out.data() + at, recv[s],
                                elements<int64_t>(static_cast<int>(s) * 100 + world.rank())),
                    -1)
              << "from rank " << s << ", scale " << scale;
      }
  });
}

TEST_P(Collectives, BroadcastReachesAllFromEveryRoot) {
  run([](const Communicator& world) {
    for (const auto memory : {Memory::kPrivate, Memory::kShared})
      for (const size_t count : {size_t{0}, size_t{1}, size_t{97}, size_t{1'000'003}})
        for (int root = 0; root < world.size(); ++root) {
          Values<uint8_t> values(world, memory, count);
          fill(values.data(), count, elements<uint8_t>(world.rank()));
          world.broadcast(values, root, kLabel);
          ASSERT_EQ(first_wrong(values.data(), count, elements<uint8_t>(root)), -1);
        }
  });
}

TEST_P(Collectives, MessagesArriveInOrderAndBothWaysAtOnce) {
  run([](const Communicator& world) {
    if (world.size() == 1) return;
    const int next = (world.rank() + 1) % world.size();
    const int previous = (world.rank() + world.size() - 1) % world.size();
    // Larger than what the ring between two ranks holds, so that no send ends before its receive.
    for (const size_t count : {size_t{0}, size_t{1}, size_t{97}, size_t{1'000'003}}) {
      Values<uint8_t> out(world, Memory::kPrivate, count), in(world, Memory::kPrivate, count);
      fill(out.data(), count, elements<uint8_t>(world.rank()));
      const Work sent = world.send(out, next, kLabel, Issue::kAsync);
      const float second = static_cast<float>(world.rank());
      const Work sent_too = world.send({&second, 1, DType::kF32}, next, kLabel, Issue::kAsync);
      world.recv(in, previous, kLabel);
      float got = -1;
      world.recv({&got, 1, DType::kF32}, previous, kLabel);
      sent.wait();
      sent_too.wait();
      ASSERT_EQ(first_wrong(in.data(), count, elements<uint8_t>(previous)), -1);
      ASSERT_EQ(got, static_cast<float>(previous));
    }
  });
}

TEST_P(Collectives, SplitOrdersByKeyAndGroupsWorkSideBySide) {
  run([](const Communicator& world) {
    // Even and odd ranks, in reverse; and all again under another name.
    const Communicator half = world.split(world.rank() % 2, -world.rank(), "half");
    const Communicator all = world.split(0, world.rank(), "all");
    EXPECT_EQ(half.name(), "half");
    EXPECT_EQ(half.size(), (world.size() + 1 - world.rank() % 2) / 2);
    EXPECT_EQ(half.rank(), half.size() - 1 - world.rank() / 2);
    constexpr size_t kCount = 50'021;
    for (const auto memory : {Memory::kPrivate, Memory::kShared}) {
      Values<float> a(world, memory, kCount), b(world, memory, kCount);
      fill(a.data(), kCount, elements<float>(half.rank()));
      fill(b.data(), kCount, elements<float>(world.rank()));
      const Work first = half.all_reduce(a, Reduce::kSum, kLabel, Issue::kAsync);
      const Work second = all.all_reduce(b, Reduce::kSum, kLabel, Issue::kAsync);
      world.barrier();
      second.wait();
      first.wait();
      ASSERT_EQ(first_wrong(a.data(), kCount, reduced<float>(half.size(), Reduce::kSum)), -1);
      ASSERT_EQ(first_wrong(b.data(), kCount, reduced<float>(all.size(), Reduce::kSum)), -1);
    }
    const Communicator single = half.split(world.rank(), 0, "single");
    float one = 1;
    single.all_reduce({&one, 1, DType::kF32}, Reduce::kSum, kLabel);
    EXPECT_EQ(single.size(), 1);
    EXPECT_EQ(one, 1);
  });
}

TEST_P(Collectives, AsynchronousCallsRunInTheOrderOfIssueBeforeInlineOnes) {
  run([](const Communicator& world) {
    constexpr size_t kCount = 1000;
    std::vector<int64_t> value(kCount, 1);
    const Buffer buffer{value.data(), kCount, DType::kI64};
    std::vector<Work> works;
    for (int i = 0; i < 20; ++i)
      works.push_back(world.all_reduce(buffer, Reduce::kSum, kLabel, Issue::kAsync));
    world.all_reduce(buffer, Reduce::kSum, kLabel);  // takes its turn behind the twenty
    for (const auto& work : works) EXPECT_TRUE(work.done());
    uint64_t expected = 1;
    for (int i = 0; i < 21; ++i) expected *= static_cast<uint64_t>(world.size());
    EXPECT_EQ(static_cast<uint64_t>(value[kCount - 1]), expected);
  });
}

TEST_P(Collectives, TextOfEveryRankInRankOrder) {
  run([](const Communicator& world) {
    const auto texts = world.all_gather_text(std::string(static_cast<size_t>(world.rank()), 'x'));
    ASSERT_EQ(texts.size(), static_cast<size_t>(world.size()));
    for (size_t r = 0; r < texts.size(); ++r) EXPECT_EQ(texts[r], std::string(r, 'x'));
  });
}

TEST_P(Collectives, RequireSameShowsTheFirstDifferentLine) {
  run([](const Communicator& world) {
    require_same(world, "the config", "a\nb\nc");
    if (world.size() == 1) return;
    const bool last = world.rank() == world.size() - 1;
    const auto changed =
        error_of([&] { require_same(world, "the config", last ? "a\nB\nc" : "a\nb\nc"); });
    EXPECT_EQ(changed.code, ExitCode::kConfig);
    const std::string who = "rank " + std::to_string(world.size() - 1) + " differs from rank 0";
    EXPECT_NE(changed.line.find(who + " in the config, line 2: 'B' instead of 'b'"),
              std::string::npos)
        << changed.line;
    const auto longer =
        error_of([&] { require_same(world, "the config", last ? "a\nb\n" : "a\nb"); });
    EXPECT_NE(longer.line.find("line 3: '' instead of '(end)'"), std::string::npos) << longer.line;
  });
}

TEST_P(Collectives, WrongArgumentsAreRefusedBeforeAnyRankWaits) {
  run([](const Communicator& world) {
    std::vector<float> v(static_cast<size_t>(world.size()) * 4 + 1);
    const auto n = static_cast<size_t>(world.size());
    const auto expect = [](const char* part, const std::function<void()>& call) {
      const auto caught = error_of(call);
      EXPECT_EQ(caught.code, ExitCode::kError);
      EXPECT_NE(caught.line.find(part), std::string::npos) << caught.line;
    };
    const ConstBuffer whole{v.data(), 4 * n, DType::kF32};
    float out[4];
    expect("times the part",
           [&] { world.reduce_scatter(whole, {out, 3, DType::kF32}, Reduce::kSum, kLabel); });
    expect("overlaps", [&] {
      world.all_gather({v.data() + 1, 4, DType::kF32}, {v.data(), 4 * n, DType::kF32}, kLabel);
    });
    expect("no memory", [&] { world.all_reduce({nullptr, 3, DType::kF32}, Reduce::kSum, kLabel); });
    expect("is not in a group", [&] { world.broadcast({out, 4, DType::kF32}, 99, kLabel); });
    expect("to itself", [&] { world.send({out, 4, DType::kF32}, world.rank(), kLabel); });
    const std::vector<size_t> counts(n, 3);
    expect("do not split", [&] {
      world.all_to_all({v.data(), 1, DType::kF32}, counts, {out, 1, DType::kF32}, counts, kLabel);
    });
    world.barrier();
  });
}

INSTANTIATE_TEST_SUITE_P(, Collectives, ::testing::ValuesIn(worlds({1, 2, 3, 4})),
                         ::testing::PrintToStringParamName());

}  // namespace
}  // namespace hydrofoil::comm::test::collectives_test
