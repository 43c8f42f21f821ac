// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/monitor/tensorboard.h"

#include <unistd.h>

#include <array>
#include <bit>
#include <chrono>
#include <cmath>
#include <string>

#include "hydrofoil/core/error.h"

namespace hydrofoil::monitor {
namespace {

namespace fs = std::filesystem;

// Castagnoli's polynomial, bits reversed.
constexpr std::array<uint32_t, 256> kCrcTable = [] {
  std::array<uint32_t, 256> table{};
  for (uint32_t i = 0; i < 256; ++i) {
    uint32_t crc = i;
    for (int bit = 0; bit < 8; ++bit) crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78U : 0U);
    table[i] = crc;
  }
  return table;
}();

// Masked, because the CRC of data that holds its own CRC is no check.
uint32_t masked_crc(std::string_view data) {
  uint32_t crc = ~0U;
  for (const char c : data) crc = kCrcTable[(crc ^ static_cast<uint8_t>(c)) & 0xff] ^ crc >> 8;
  return std::rotr(~crc, 15) + 0xa282ead8U;
}

template <class Integer>
void little_endian(std::string& out, Integer value) {
  for (size_t i = 0; i < sizeof value; ++i) out += static_cast<char>(value >> 8 * i & 0xff);
}

// A protocol buffer message; fields in call order.
class Message {
 public:
  Message& varint(uint32_t field, uint64_t value) {
    key(field, 0);
    plain(value);
    return *this;
  }
  Message& float64(uint32_t field, double value) {
    key(field, 1);
    little_endian(bytes_, std::bit_cast<uint64_t>(value));
    return *this;
  }
  Message& float32(uint32_t field, float value) {
    key(field, 5);
    little_endian(bytes_, std::bit_cast<uint32_t>(value));
    return *this;
  }
  Message& text(uint32_t field, std::string_view value) {
    key(field, 2);
    plain(value.size());
    bytes_ += value;
    return *this;
  }
  Message& message(uint32_t field, const Message& inner) { return text(field, inner.bytes_); }
  const std::string& bytes() const { return bytes_; }

 private:
  void key(uint32_t field, uint32_t wire_type) { plain(field << 3 | wire_type); }
  void plain(uint64_t value) {
    for (; value >= 0x80; value >>= 7) bytes_ += static_cast<char>(value | 0x80);
    bytes_ += static_cast<char>(value);
  }
  std::string bytes_;
};

// tensorflow.Event without what happened.
Message event_now() {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return Message().float64(1, std::chrono::duration<double>(now).count());
}

std::string record_of(const Message& event) {
  std::string record;
  little_endian(record, static_cast<uint64_t>(event.bytes().size()));
  little_endian(record, masked_crc(record));
  record += event.bytes();
  little_endian(record, masked_crc(event.bytes()));
  return record;
}

LineFile make_file(const fs::path& folder) {
  std::error_code error;
  fs::create_directories(folder, error);
  if (error)
    throw Error(ExitCode::kError, "cannot make the folder: " + error.message(), folder.string());
  std::array<char, 256> host{};
  ::gethostname(host.data(), host.size() - 1);
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(
      std::chrono::system_clock::now().time_since_epoch());
  const std::string name = "events.out.tfevents." + std::to_string(seconds.count()) + "." +
                           host.data() + "." + std::to_string(::getpid()) + ".";
  for (int i = 0;; ++i)
    if (const fs::path path = folder / (name + std::to_string(i)); !fs::exists(path))
      return LineFile::create(path.string());
}

}  // namespace

TensorBoard::TensorBoard(const fs::path& folder, std::optional<int64_t> resumed_samples)
    : file_(make_file(folder)) {
  file_.append(record_of(event_now().text(3, "brain.Event:2")));
  if (!resumed_samples) return;
  constexpr uint64_t kStart = 1;  // SessionLog.START: later steps of older files are void
  file_.append(record_of(event_now()
                             .varint(2, static_cast<uint64_t>(*resumed_samples) + 1)
                             .message(7, Message().varint(1, kStart))));
}

void TensorBoard::scalar(std::string_view tag, int64_t samples, double value) {
  const Message point = Message().text(1, tag).float32(2, static_cast<float>(value));
  file_.append(record_of(event_now()
                             .varint(2, static_cast<uint64_t>(samples))
                             .message(5, Message().message(1, point))));
}

void TensorBoard::report(const Event& event) {
  if (const auto* record = std::get_if<StepRecord>(&event)) return step(*record);
  const auto* record = std::get_if<EvalRecord>(&event);
  if (!record) return;
  scalar("Eval/" + record->name + "/loss", record->samples, record->loss);
  scalar("Eval/" + record->name + "/perplexity", record->samples, std::exp(record->loss));
}

void TensorBoard::step(const StepRecord& r) {
  const auto train = [&](const std::string& name, double value) {
    scalar("Train/Samples/" + name, r.samples, value);
  };
  train("train_loss", r.loss);
  train("lr", r.lr);
  if (r.loss_scale) train("loss_scale", *r.loss_scale);
  train("grad_norm", r.grad_norm);
  train("tokens_per_second", r.tokens_per_second);
  if (r.mfu) train("mfu", *r.mfu);
  for (const auto& [phase, seconds] : r.phase_seconds)
    train("elapsed_time_ms_" + phase, seconds * 1e3);
  for (const auto& [what, seconds] : r.file_wait_seconds)
    train("elapsed_time_ms_wait_for_" + what, seconds * 1e3);
  if (r.disk) {
    scalar("Disk/bytes_per_second", r.samples, r.disk->bytes_per_second);
    if (r.disk->possible_bytes_per_second > 0)
      scalar("Disk/possible_bytes_per_second", r.samples, r.disk->possible_bytes_per_second);
  }
  for (const auto& [name, bytes] : r.wire_bytes)
    scalar("Wire bytes/" + name, r.samples, static_cast<double>(bytes));
  for (const auto& [name, bytes] : r.file_bytes)
    scalar("File bytes/" + name, r.samples, static_cast<double>(bytes));
  for (const auto& [name, bytes] : r.memory_bytes)
    scalar("Memory bytes/" + name, r.samples, static_cast<double>(bytes));
}

}  // namespace hydrofoil::monitor
