// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/checkpoint/saver.h"

#include <algorithm>
#include <chrono>
#include <stdexcept>
#include <utility>

#include "hydrofoil/core/parallel.h"

namespace hydrofoil::checkpoint {
namespace {

double seconds_now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

template <class Visit>
void each_fragment(const Snapshot& snapshot, const Visit& visit) {
  for (const FileState& file : snapshot.files)
    for (const TensorState& tensor : file.tensors)
      for (const Fragment& fragment : tensor.mine) visit(fragment);
}

}  // namespace

Saver::Saver(const comm::Communicator& group, SaveOptions options, size_t buffer_bytes)
    : group_(group.split(0, group.rank(), "checkpoint")),
      options_(std::move(options)),
      buffer_bytes_(buffer_bytes) {}

Saver::~Saver() {
  if (copying_.joinable()) copying_.join();
  if (writing_.joinable()) writing_.join();
}

void Saver::start(Snapshot snapshot) {
  if (writing_.joinable()) throw std::logic_error("a save is under way, or was not asked about");
  const double begin = seconds_now();
  snapshot_ = std::move(snapshot);
  size_t bytes = 0;
  each_fragment(snapshot_, [&](const Fragment& fragment) { bytes += fragment.size_bytes(); });
  bytes = std::min(bytes, buffer_bytes_);
  if (!buffer_ || buffer_->bytes() < bytes) {
    buffer_.reset();  // never two at a time
    buffer_ = std::make_unique<CopyBuffer>(bytes);
  }
  buffer_->reset();
  done_ = false;
  saved_ = {.step = snapshot_.step, .folder = {}, .seconds = -begin};
  writing_ = std::thread([this] { write(); });
  copying_ = std::thread([this] { copy_fragments(); });
  saved_.waited_seconds = seconds_now() - begin;
}

void Saver::wait_for_copy() {
  if (!copying_.joinable()) return;
  const double begin = seconds_now();
  copying_.join();
  saved_.waited_seconds += seconds_now() - begin;
  if (copy_failure_) std::rethrow_exception(std::exchange(copy_failure_, nullptr));
}

void Saver::copy_fragments() {
  set_compute_threads(1);  // the others compute
  size_t index = 0;
  try {
    each_fragment(snapshot_, [&](const Fragment& fragment) {
      fragment.visit([&](size_t offset, auto bytes) { buffer_->put(index, offset, bytes); });
      ++index;
    });
  } catch (...) {  // a file could not be read: what came so far is no checkpoint, and is refused
    copy_failure_ = std::current_exception();
  }
  buffer_->end();
}

// Uses the sizes of fragments, never their bytes.
void Saver::write() {
  try {
    saved_.folder = save(group_, snapshot_, options_,
                         [this](const FragmentSink& sink) { buffer_->drain(sink); });
  } catch (...) {
    failure_ = std::current_exception();
  }
  buffer_->close();
  saved_.seconds += seconds_now();
  done_ = true;
}

std::optional<Saved> Saver::poll() {
  return done_ ? finish() : std::nullopt;
}

std::optional<Saved> Saver::finish() {
  wait_for_copy();
  if (!writing_.joinable()) return std::nullopt;
  writing_.join();
  if (failure_) std::rethrow_exception(std::exchange(failure_, nullptr));
  return saved_;
}

}  // namespace hydrofoil::checkpoint
