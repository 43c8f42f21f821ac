// SPDX-License-Identifier: Apache-2.0
// NCCL as a way for data: against a stand-in (nccl_double.cpp), and where it is installed for real,
// with one rank. The suites of the other files run over the stand-in, too.
#include <gmock/gmock.h>

#include <atomic>
#include <thread>

#include "hydrofoil/comm/backend/nccl/nccl_transport.h"
#include "tests/comm/harness.h"

namespace hydrofoil::comm::test::nccl_test {
namespace {

using ::testing::HasSubstr;

std::shared_ptr<const NcclLibrary> stand_in() {
  return load_nccl(kNcclDouble, kNcclDouble);
}

// One rank's way to itself, and what it has sent there.
void expect_echo(const std::shared_ptr<const NcclLibrary>& library) {
  const auto boxes = std::make_shared<Mailboxes>(1);
  const auto transport = make_nccl_transport(boxes->join(0), library, 0);
  const auto way = transport->open_bulk(transport->make_bulk_id(), 0, 1);
  for (const size_t bytes : {size_t{1}, size_t{97}, size_t{1'000'003}, size_t{70'000'001}}) {
    std::vector<std::byte> out(bytes), in(bytes);
    for (size_t i = 0; i < bytes; ++i) out[i] = static_cast<std::byte>(i * 7 + i / 251);
    const auto transfer = way->exchange({{0, out.data(), bytes, in.data(), bytes}});
    ASSERT_TRUE(transfer->wait());
    ASSERT_EQ(std::memcmp(in.data(), out.data(), bytes), 0) << bytes << " bytes";
  }
}

TEST(Nccl, WhatARankSendsItselfArrives) {
  expect_echo(stand_in());
}

TEST(Nccl, TheInstalledOneDoesTheSame) {
  std::shared_ptr<const NcclLibrary> library;
  try {
    library = load_nccl();
    std::cout << library->text() << "\n";
  } catch (const std::runtime_error& error) {
    GTEST_SKIP() << error.what();
  }
  expect_echo(library);
}

TEST(Nccl, ACancelledExchangeEndsAndIsTheLast) {
  const auto boxes = std::make_shared<Mailboxes>(2);
  const auto library = stand_in();
  const auto id = make_nccl_transport(boxes->join(0), library, 0)->make_bulk_id();
  std::atomic<bool> opened = false;
  std::thread other([&] {  // it comes, but says nothing
    const auto transport = make_nccl_transport(boxes->join(1), library, 1);
    const auto way = transport->open_bulk(id, 1, 2);
    opened.wait(false);
  });
  const auto transport = make_nccl_transport(boxes->join(0), library, 0);
  const auto way = transport->open_bulk(id, 0, 2);
  std::byte in{};
  const auto transfer = way->exchange({{1, nullptr, 0, &in, 1}});
  std::thread canceller([&] { transfer->cancel(); });
  EXPECT_FALSE(transfer->wait());
  canceller.join();
  EXPECT_THROW(way->exchange({{1, nullptr, 0, &in, 1}})->wait(), std::runtime_error);
  opened = true;
  opened.notify_all();
  other.join();
}

TEST(Nccl, WhatIsMissingIsSaid) {
  EXPECT_THAT([] { load_nccl("libno-such.so.2", kNcclDouble); },
              ::testing::ThrowsMessage<std::runtime_error>(HasSubstr("libno-such.so.2")));
  EXPECT_THAT([] { load_nccl("libc.so.6", kNcclDouble); },
              ::testing::ThrowsMessage<std::runtime_error>(HasSubstr("lacks ncclGetVersion")));
  const auto boxes = std::make_shared<Mailboxes>(1);
  const auto caught = error_of([&] { make_nccl_transport(boxes->join(0), stand_in(), 8); });
  EXPECT_EQ(caught.code, ExitCode::kConfig);
  EXPECT_THAT(caught.line, HasSubstr("rank 0 has no GPU: this host has 8"));
  EXPECT_EQ(stand_in()->text(), "NCCL 2.27.3, 8 GPUs");
}

TEST(Nccl, TheBackendIsListedWithWhatItNeeds) {
  const auto facts = backends();
  const auto fact =
      std::find_if(facts.begin(), facts.end(), [](const auto& f) { return f.name == "nccl"; });
  ASSERT_NE(fact, facts.end());
  if (fact->available) GTEST_SKIP() << fact->detail;
  EXPECT_THAT(fact->detail, HasSubstr("libnccl.so.2"));
  LaunchEnvironment two;
  two.size = two.local_size = 2;
  const auto caught = error_of([&] { connect(two, {.backend = "nccl"}); });
  EXPECT_EQ(caught.code, ExitCode::kConfig);
  EXPECT_THAT(caught.line, HasSubstr("NCCL cannot be used: libnccl.so.2"));
  EXPECT_THAT(caught.line, HasSubstr("HYDROFOIL_NCCL_LIBRARY"));
}

}  // namespace
}  // namespace hydrofoil::comm::test::nccl_test
