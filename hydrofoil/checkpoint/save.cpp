// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/checkpoint/save.h"

#include <algorithm>
#include <optional>
#include <sstream>
#include <system_error>
#include <utility>
#include <vector>

#include "hydrofoil/checkpoint/agreement.h"
#include "hydrofoil/checkpoint/folder.h"
#include "hydrofoil/checkpoint/layout.h"
#include "hydrofoil/checkpoint/manifest.h"
#include "hydrofoil/checkpoint/verify.h"
#include "hydrofoil/core/error.h"
#include "hydrofoil/io/file.h"
#include "hydrofoil/io/hash.h"

namespace hydrofoil::checkpoint {
namespace {

namespace fs = std::filesystem;

constexpr size_t kWriteBytes = size_t{8} << 20;  // at a time

std::string joined(const Digests& digests) {
  std::string text;
  for (const std::string& digest : digests) text += digest + '\n';
  return text;
}

Digests split(const std::string& text) {
  std::istringstream lines(text);
  Digests digests;
  for (std::string line; std::getline(lines, line);) digests.push_back(line);
  return digests;
}

void make_folders(const fs::path& folder) {
  std::error_code error;
  fs::create_directories(folder, error);
  if (error)
    throw Error(ExitCode::kCheckpoint, "cannot make the folder: " + error.message(),
                folder.string(), "check that the path is right and may be written");
}

// One save, as one rank sees it.
class Save {
 public:
  Save(const comm::Communicator& group, const Snapshot& snapshot, const SaveOptions& options,
       const FragmentFeed& feed)
      : group_(group), snapshot_(snapshot), options_(options), feed_(feed) {}
  ~Save() {  // on success there is nothing under this name
    if (group_.rank() != 0 || aside_.empty()) return;
    std::error_code ignored;
    fs::remove_all(aside_, ignored);
  }
  Save(const Save&) = delete;
  Save& operator=(const Save&) = delete;

  fs::path run() {
    plan_ = plan_save(together(group_, "layout", [&] { return layout_text(snapshot_); }),
                      options_.max_file_bytes);
    const fs::path target = options_.root / step_name(plan_.step);
    aside_ = together(group_, "create", [&] { return on_rank_0([&] { create(target); }); })[0];
    for (const std::string& text : together(group_, "write", [&] { return joined(write()); }))
      written_.push_back(split(text));
    const auto read_back = together(group_, "read back", [&] { return joined(hash_share()); });
    together(group_, "commit", [&] { return on_rank_0([&] { commit(read_back, target); }); });
    return target;
  }

 private:
  template <typename Body>
  std::string on_rank_0(const Body& body) {
    if (group_.rank() != 0) return {};
    body();
    return aside_.string();
  }

  fs::path target_file(const PlannedFile& file) const { return aside_ / file.name; }

  void create(const fs::path& target) {
    make_folders(options_.root);
    require_space();
    aside_ = target.string() + ".tmp-" + io::unique_id();
    make_folders(aside_);
    for (const auto* texts : {&snapshot_.texts, &std::as_const(plan_.indexes)})
      for (const auto& [name, text] : *texts) {
        const io::File file(aside_ / name, io::Access::kCreate);
        file.write_at(0, std::as_bytes(std::span(text)));
        file.sync();
      }
    for (const PlannedFile& planned : plan_.files) {
      const io::File file(target_file(planned), io::Access::kCreate);
      file.reserve(planned.bytes);
      file.write_at(0, std::as_bytes(std::span(planned.header)));
      file.sync();
    }
    io::sync_directory(aside_);
  }

  // One clear message instead of a full disk in the middle. The reservation decides.
  void require_space() const {
    const uint64_t free_bytes = io::free_space_bytes(options_.root);
    if (plan_.bytes() > free_bytes)
      throw Error(ExitCode::kCheckpoint,
                  "no space for the checkpoint of step " + std::to_string(plan_.step) + ": " +
                      std::to_string(plan_.bytes()) + " bytes are needed, " +
                      std::to_string(free_bytes) + " are free",
                  options_.root.string(), "free some space, lower `keep` or choose another folder");
  }

  // Where a fragment of this rank goes. Bytes.
  struct Target {
    const io::File* file = nullptr;  // null: it is empty
    uint64_t offset = 0;             // of the tensor in the file
    uint64_t first = 0, bytes = 0;   // of the fragment in its box
    Box box = {};                    // of bytes

    void write(uint64_t begin, std::span<const std::byte> part, io::Hasher& hasher) const {
      uint64_t end = 0;
      std::optional<uint64_t> touched;
      box.for_each_run(begin, begin + part.size(), [&](const Box::Run& run) {
        if (run.replica) return;
        const auto now = part.subspan(run.local - begin, run.count);
        file->write_at(offset + run.logical, now);
        hasher.add(now);
        if (!touched) touched = run.logical;
        end = run.logical + run.count;
      });
      if (touched) file->begin_sync(offset + *touched, end - *touched);
    }
  };
  std::vector<Target> targets_in(const std::vector<io::File>& files) const {
    std::vector<Target> targets;
    for (size_t i = 0; i < files.size(); ++i)
      for (const PlannedTensor& tensor : plan_.files[i].tensors)
        for (const Piece& piece : tensor.pieces) {
          if (piece.rank != group_.rank()) continue;
          const uint64_t element = size_of(tensor.dtype);
          targets.resize(std::max(targets.size(), piece.index + 1));
          targets[piece.index] = {&files[i], tensor.offset, piece.begin * element,
                                  (piece.end - piece.begin) * element, piece.box};
          if (Box& box = targets[piece.index].box; !box.is_all())
            box.whole.push_back(static_cast<int64_t>(element));
        }
    return targets;
  }

  // Writes this rank's fragments as they come; their digests, by index.
  Digests write() const {
    std::vector<io::File> files;
    for (const PlannedFile& planned : plan_.files)
      files.emplace_back(target_file(planned), io::Access::kReadWrite);
    const std::vector<Target> targets = targets_in(files);
    Digests digests(targets.size());
    io::Hasher hasher;
    feed_([&](size_t index, uint64_t offset, std::span<const std::byte> part) {
      if (part.empty()) return;
      const Target& target = targets.at(index);
      for (size_t done = 0; done < part.size();) {  // the disk is busy from the first part on
        const auto next = part.subspan(done, std::min(kWriteBytes, part.size() - done));
        target.write(target.first + offset + done, next, hasher);
        done += next.size();
      }
      if (offset + part.size() == target.bytes)
        digests[index] = std::exchange(hasher, io::Hasher()).digest();
    });
    for (const io::File& file : files) file.sync();
    return digests;
  }

  struct Item {
    const PlannedFile* file;
    const PlannedTensor* tensor;
  };
  std::vector<Item> items_of(int rank) const {
    std::vector<Item> all, mine;
    std::vector<uint64_t> bytes;
    for (const PlannedFile& file : plan_.files)
      for (const PlannedTensor& tensor : file.tensors) {
        all.push_back({&file, &tensor});
        bytes.push_back(tensor.bytes);
      }
    for (const size_t i : share_of(bytes, rank, group_.size())) mine.push_back(all[i]);
    return mine;
  }

  Digests hash_share() const {
    Digests digests;
    for (const auto& [planned, tensor] : items_of(group_.rank()))
      digests.push_back(
          read_back(io::File(target_file(*planned), io::Access::kRead), *tensor, written_));
    return digests;
  }

  Manifest manifest(const std::vector<std::string>& read_back) const {
    Manifest result;
    result.step = plan_.step;
    result.code_version = HYDROFOIL_VERSION;
    result.created_by = options_.created_by;
    for (const auto* texts : {&snapshot_.texts, &plan_.indexes})
      for (const auto& [name, text] : *texts) result.texts[name] = {text.size(), io::hash_of(text)};
    for (const PlannedFile& file : plan_.files)
      result.files[file.name] = {
          file.bytes, file.header.size(), io::hash_of(file.header), file.part_of, {}};
    for (size_t rank = 0; rank < read_back.size(); ++rank) {
      const Digests digests = split(read_back[rank]);
      size_t next = 0;
      for (const auto& [file, tensor] : items_of(static_cast<int>(rank)))
        result.files[file->name].tensors[tensor->name] = {
            tensor->dtype, tensor->shape, tensor->offset, tensor->bytes, digests.at(next++)};
    }
    return result;
  }

  void commit(const std::vector<std::string>& read_back, const fs::path& target) {
    io::atomic_write(aside_ / kManifestName, manifest_text(manifest(read_back)));
    std::error_code error;
    if (!fs::exists(target, error)) {
      io::rename_path(aside_, target);
    } else if (!io::exchange_paths(aside_, target)) {
      throw Error(ExitCode::kCheckpoint, "exists, and this file system cannot replace it safely",
                  target.string(), "move it away, or save into another folder");
    }
    io::sync_directory(options_.root);
    io::atomic_write(options_.root / kLatestName, step_name(plan_.step) + "\n");
    prune(options_.root, plan_.step, options_.keep);
  }

  const comm::Communicator& group_;
  const Snapshot& snapshot_;
  const SaveOptions& options_;
  const FragmentFeed& feed_;
  SavePlan plan_;
  fs::path aside_;
  std::vector<Digests> written_;  // of every fragment, by rank and index
};

}  // namespace

fs::path save(const comm::Communicator& group, const Snapshot& snapshot,
              const SaveOptions& options) {
  return save(group, snapshot, options, [&](const FragmentSink& sink) {
    size_t index = 0;
    for (const FileState& file : snapshot.files)
      for (const TensorState& tensor : file.tensors)
        for (const Fragment& fragment : tensor.mine) {
          fragment.visit([&](size_t offset, auto bytes) { sink(index, offset, bytes); });
          ++index;
        }
  });
}

fs::path save(const comm::Communicator& group, const Snapshot& snapshot, const SaveOptions& options,
              const FragmentFeed& feed) {
  return Save(group, snapshot, options, feed).run();
}

}  // namespace hydrofoil::checkpoint
