// SPDX-License-Identifier: Apache-2.0
// TensorBoard event files and Prometheus text, read by readers that share no code with the writers.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <limits>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "hydrofoil/core/error.h"
#include "hydrofoil/monitor/prometheus.h"
#include "hydrofoil/monitor/tensorboard.h"
#include "tests/support/scratch.h"

namespace hydrofoil::monitor::sinks_test {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class Sinks : public testing::Test {
 protected:
  const test::Scratch scratch_;
  const fs::path& folder_ = scratch_.path();
};

std::string bytes_of(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

// Bit by bit, as the standard defines it.
uint32_t crc32c(std::string_view data) {
  uint32_t crc = 0xffffffff;
  for (const char c : data)
    for (int bit = 0; bit < 8; ++bit) {
      const bool one = ((crc ^ (static_cast<unsigned char>(c) >> bit)) & 1) != 0;
      crc = (crc >> 1) ^ (one ? 0x82f63b78U : 0U);
    }
  return crc ^ 0xffffffff;
}
uint32_t masked(std::string_view data) {
  const uint32_t crc = crc32c(data);
  return ((crc >> 15) | (crc << 17)) + 0xa282ead8U;
}

TEST(Crc32c, TheOracleGivesTheKnownValue) {
  EXPECT_EQ(crc32c("123456789"), 0xe3069283U);
}

uint64_t fixed(std::string_view& in, size_t bytes) {
  uint64_t value = 0;
  for (size_t i = 0; i < bytes; ++i)
    value |= static_cast<uint64_t>(static_cast<unsigned char>(in.at(i))) << (8 * i);
  in.remove_prefix(bytes);
  return value;
}
uint64_t varint(std::string_view& in) {
  uint64_t value = 0;
  for (int shift = 0;; shift += 7) {
    const auto byte = fixed(in, 1);
    value |= (byte & 0x7f) << shift;
    if (byte < 0x80) return value;
  }
}

struct Field {
  uint64_t number, integer = 0;
  std::string_view bytes = {};
};
std::vector<Field> fields_of(std::string_view in) {
  std::vector<Field> fields;
  while (!in.empty()) {
    const uint64_t key = varint(in);
    Field field{.number = key >> 3};
    if ((key & 7) == 0) {
      field.integer = varint(in);
    } else if ((key & 7) == 2) {
      const uint64_t size = varint(in);
      field.bytes = in.substr(0, size);
      in.remove_prefix(size);
    } else {
      field.integer = fixed(in, (key & 7) == 1 ? 8 : 4);
    }
    fields.push_back(field);
  }
  return fields;
}

struct Decoded {
  double wall_time = 0;
  uint64_t step = 0;
  std::string version, tag;
  float value = 0;
  bool restart = false;
};
std::vector<Decoded> events_of(const fs::path& file) {
  const std::string all = bytes_of(file);
  std::string_view in = all;
  std::vector<Decoded> events;
  while (!in.empty()) {
    const std::string_view head = in.substr(0, 8);
    const uint64_t size = fixed(in, 8);
    EXPECT_EQ(fixed(in, 4), masked(head));
    const std::string_view data = in.substr(0, size);
    in.remove_prefix(size);
    EXPECT_EQ(fixed(in, 4), masked(data));
    Decoded event;
    for (const auto& field : fields_of(data)) {
      if (field.number == 1) event.wall_time = std::bit_cast<double>(field.integer);
      if (field.number == 2) event.step = field.integer;
      if (field.number == 3) event.version = field.bytes;
      if (field.number == 7) event.restart = fields_of(field.bytes).at(0).integer == 1;
      if (field.number != 5) continue;
      for (const auto& part : fields_of(fields_of(field.bytes).at(0).bytes)) {
        if (part.number == 1) event.tag = part.bytes;
        if (part.number == 2) event.value = std::bit_cast<float>(uint32_t(part.integer));
      }
    }
    events.push_back(event);
  }
  return events;
}

std::vector<fs::path> files_in(const fs::path& folder) {
  std::vector<fs::path> files;
  for (const auto& entry : fs::directory_iterator(folder)) files.push_back(entry.path());
  std::sort(files.begin(), files.end());
  return files;
}

TEST_F(Sinks, TensorBoardHasEveryFigureAtItsSample) {
  {
    TensorBoard board(folder_ / "job", std::nullopt);
    board.report(StepRecord{.step = 2,
                            .steps = 9,
                            .samples = 300,
                            .loss = 3.25,
                            .lr = 1e-4,
                            .loss_scale = 65536,
                            .phase_seconds = {{"backward_allreduce", 0.0125}},
                            .wire_bytes = {{"all_gather", 1000}},
                            .memory_bytes = {{"peak", 77}}});
    board.report(EvalRecord{.step = 2, .samples = 300, .name = "held.txt", .loss = 2});
    board.report(EndRecord{.steps = 2});
  }
  const auto files = files_in(folder_ / "job");
  ASSERT_EQ(files.size(), 1U);
  EXPECT_THAT(files[0].filename().string(), HasSubstr("events.out.tfevents."));
  const auto events = events_of(files[0]);
  EXPECT_EQ(events.at(0).version, "brain.Event:2");
  EXPECT_GT(events[0].wall_time, 1.5e9);
  std::map<std::string, float> values;
  for (size_t i = 1; i < events.size(); ++i) {
    EXPECT_EQ(events[i].step, 300U) << events[i].tag;
    values[events[i].tag] = events[i].value;
  }
  EXPECT_EQ(values.at("Train/Samples/train_loss"), 3.25F);
  EXPECT_EQ(values.at("Train/Samples/lr"), 1e-4F);
  EXPECT_EQ(values.at("Train/Samples/loss_scale"), 65536);
  EXPECT_EQ(values.at("Train/Samples/elapsed_time_ms_backward_allreduce"), 12.5F);
  EXPECT_EQ(values.at("Wire bytes/all_gather"), 1000);
  EXPECT_EQ(values.at("Memory bytes/peak"), 77);
  EXPECT_EQ(values.at("Eval/held.txt/loss"), 2);
  EXPECT_EQ(values.at("Eval/held.txt/perplexity"), std::exp(2.0F));
}

TEST_F(Sinks, AResumeVoidsWhatTensorBoardSawLater) {
  {
    TensorBoard(folder_, std::nullopt).report(StepRecord{.samples = 500});
  }
  {
    TensorBoard(folder_, 200).report(StepRecord{.samples = 300});
  }
  const auto files = files_in(folder_);
  ASSERT_EQ(files.size(), 2U);
  const auto events = events_of(files[1]);
  EXPECT_TRUE(events.at(1).restart);
  EXPECT_EQ(events[1].step, 201U);
  EXPECT_EQ(events[2].step, 300U);
}

TEST_F(Sinks, TensorBoardInAnImpossiblePlaceIsAnErrorAtTheStart) {
  std::ofstream(folder_ / "file") << "x";
  EXPECT_THROW(TensorBoard(folder_ / "file" / "job", std::nullopt), Error);
}

TEST_F(Sinks, PrometheusShowsTheNewestStepAndCounts) {
  const fs::path path = folder_ / "run.prom";
  Prometheus sink(path.string(), "runs/\"a\\b\"\n");
  StepRecord record{.step = 1, .loss = 4, .wire_bytes = {{"read", 100}}, .skipped = true};
  sink.report(record);
  record.step = 2;
  record.loss = std::numeric_limits<double>::quiet_NaN();
  sink.report(record);
  sink.report(EvalRecord{.name = "x \"y\"", .loss = 1.5});
  const std::string text = bytes_of(path), run = R"({run="runs/\"a\\b\"\n")";
  for (const std::string& line : std::vector<std::string>{
           "# TYPE hydrofoil_train_loss gauge\nhydrofoil_train_loss" + run + "} NaN\n",
           "hydrofoil_train_step" + run + "} 2\n",
           "# TYPE hydrofoil_train_wire_bytes_total counter\nhydrofoil_train_wire_bytes_total" +
               run + ",operation=\"read\"} 200\n",
           "hydrofoil_train_skipped_steps_total" + run + "} 2\n",
           "hydrofoil_train_eval_loss" + run + ",data=\"x \\\"y\\\"\"} 1.5\n"})
    EXPECT_THAT(text, HasSubstr(line));
  EXPECT_THAT(files_in(folder_), ElementsAre(path)) << "nothing else stays";
}

TEST_F(Sinks, PrometheusThatCannotWriteWarnsOnce) {
  testing::internal::CaptureStderr();
  Prometheus sink((folder_ / "no" / "run.prom").string(), "r");
  for (int i = 0; i < 3; ++i) sink.report(StepRecord{});
  const std::string text = testing::internal::GetCapturedStderr();
  EXPECT_THAT(text, HasSubstr("run.prom"));
  EXPECT_EQ(text.find("warning"), text.rfind("warning")) << text;
}

}  // namespace
}  // namespace hydrofoil::monitor::sinks_test
