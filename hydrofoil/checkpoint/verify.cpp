// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/checkpoint/verify.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "hydrofoil/checkpoint/agreement.h"
#include "hydrofoil/checkpoint/folder.h"
#include "hydrofoil/checkpoint/layout.h"
#include "hydrofoil/core/error.h"
#include "hydrofoil/core/parallel.h"

namespace hydrofoil::checkpoint {
namespace {

namespace fs = std::filesystem;

// Small enough to stay in the cache between reading and hashing.
constexpr size_t kChunkBytes = size_t{1} << 18;

// What is wrong with a tensor; empty when nothing is.
std::string compare(const io::File& file, const TensorRecord& record) {
  const uint64_t file_bytes = file.size_bytes();
  if (record.offset + record.bytes > file_bytes)
    return "is cut off: it ends at byte " + std::to_string(record.offset + record.bytes) +
           ", the file at " + std::to_string(file_bytes);
  const std::string hash = hash_range(file, record.offset, record.bytes);
  if (hash == record.hash) return {};
  return "does not match its digest (" + hash + ", expected " + record.hash + ")";
}

// The same where nothing may be thrown.
std::string message_of(const io::File& file, const TensorRecord& record) {
  try {
    return compare(file, record);
  } catch (const std::exception& error) {
    return error.what();
  }
}

std::vector<Problem> tensor_problems(const io::File& file, const std::string& name,
                                     const FileRecord& record) {
  std::vector<const std::pair<const std::string, TensorRecord>*> tensors;
  for (const auto& entry : record.tensors) tensors.push_back(&entry);
  std::vector<std::string> messages(tensors.size());
  parallel_for(tensors.size(), 1, [&](size_t begin, size_t end) {
    for (size_t i = begin; i < end; ++i) messages[i] = message_of(file, tensors[i]->second);
  });
  std::vector<Problem> problems;
  for (size_t i = 0; i < tensors.size(); ++i)
    if (!messages[i].empty()) problems.push_back({name, tensors[i]->first, messages[i]});
  return problems;
}

std::vector<Problem> file_problems(const fs::path& folder, const std::string& name,
                                   const FileRecord& record) {
  const io::File file(folder / name, io::Access::kRead);
  std::vector<Problem> problems;
  const uint64_t size = file.size_bytes();
  if (size != record.bytes)
    problems.push_back(
        {name, "",
         "has " + std::to_string(size) + " bytes, expected " + std::to_string(record.bytes)});
  if (size >= record.header_bytes && hash_range(file, 0, record.header_bytes) != record.header_hash)
    problems.push_back({name, "", "its header does not match its digest"});
  for (Problem& problem : tensor_problems(file, name, record))
    problems.push_back(std::move(problem));
  return problems;
}

std::vector<Problem> text_problems(const fs::path& folder, const std::string& name,
                                   const TextRecord& record) {
  if (io::hash_of(io::read_text(folder / name)) == record.hash) return {};
  return {{name, "", "was edited or damaged since it was saved"}};
}

// A file that cannot even be read is a problem like any other.
template <typename Body>
void collect(std::vector<Problem>& problems, const std::string& name, const Body& body) {
  try {
    for (Problem& problem : body()) problems.push_back(std::move(problem));
  } catch (const Error& error) {
    problems.push_back({name, "", error.what()});
  }
}

}  // namespace

std::string Problem::line() const {
  return file + (tensor.empty() ? "" : ", tensor '" + tensor + "'") + ": " + message;
}

std::string hash_range(const io::File& file, uint64_t offset, uint64_t bytes) {
  std::vector<std::byte> chunk(std::min<uint64_t>(bytes, kChunkBytes));
  io::Hasher hasher;
  while (bytes > 0) {
    const auto part = std::span(chunk).first(std::min<uint64_t>(bytes, chunk.size()));
    file.read_at(offset, part);
    hasher.add(part);
    offset += part.size();
    bytes -= part.size();
  }
  return hasher.digest();
}

namespace {

// visit(piece, bytes) of all of a tensor, in order, a chunk at a time.
template <class Visit>
void for_each_part(const io::File& file, const PlannedTensor& tensor, const Visit& visit) {
  const uint64_t element = size_of(tensor.dtype);
  std::vector<std::byte> chunk(std::min<uint64_t>(tensor.bytes, kChunkBytes));
  const std::vector<PlannedRun> runs = tensor.runs();
  auto run = runs.begin();
  for (uint64_t first = 0; first < tensor.bytes; first += chunk.size()) {
    const auto bytes = std::span(chunk).first(std::min(tensor.bytes - first, chunk.size()));
    file.read_at(tensor.offset + first, bytes);
    for (uint64_t done = 0; done < bytes.size();) {
      while (run->end * element <= first + done) ++run;
      const uint64_t count = std::min(bytes.size() - done, run->end * element - first - done);
      visit(run->piece, bytes.subspan(done, count));
      done += count;
    }
  }
}

}  // namespace

std::string read_back(const io::File& file, const PlannedTensor& tensor,
                      std::span<const Digests> written) {
  const bool single = tensor.pieces.size() == 1;
  std::vector<io::Hasher> by_piece(tensor.pieces.size());
  io::Hasher whole;
  for_each_part(file, tensor, [&](size_t piece, std::span<const std::byte> bytes) {
    by_piece[piece].add(bytes);
    if (!single) whole.add(bytes);
  });
  for (size_t i = 0; i < tensor.pieces.size(); ++i) {
    const auto& [begin, end, rank, index, box] = tensor.pieces[i];
    if (by_piece[i].digest() != written[static_cast<size_t>(rank)][index])
      throw Error(ExitCode::kCheckpoint,
                  "tensor '" + tensor.name + "' reads back differently from what rank " +
                      std::to_string(rank) + " wrote",
                  file.path().string(), "the disk, the file system or the memory is faulty");
  }
  return single ? by_piece.front().digest() : whole.digest();
}

fs::path verified_folder(const fs::path& path) {
  const fs::path root = checkpoint_root(path);
  const std::string name = latest_name(root);
  std::error_code error;
  return !name.empty() && fs::is_directory(root / name, error) ? root / name : resolve(path);
}

std::vector<Problem> verify(const fs::path& path) {
  const fs::path folder = verified_folder(path);
  std::error_code error;
  if (!fs::is_directory(folder, error))
    throw Error(ExitCode::kCheckpoint, "is no folder", folder.string());
  if (!fs::exists(folder / kManifestName, error))
    return {{kManifestName, "", "is missing: the checkpoint is not complete"}};
  Manifest manifest;
  try {
    const fs::path file = folder / kManifestName;
    manifest = parse_manifest(io::read_text(file), file.string());
  } catch (const NewerFormat&) {
    throw;
  } catch (const Error& problem) {
    return {{kManifestName, "", problem.what()}};
  }
  std::vector<Problem> problems;
  for (const auto& entry : manifest.texts)
    collect(problems, entry.first,
            [&] { return text_problems(folder, entry.first, entry.second); });
  for (const auto& entry : manifest.files)
    collect(problems, entry.first,
            [&] { return file_problems(folder, entry.first, entry.second); });
  return problems;
}

void require_intact(const comm::Communicator& group, const Reader& reader,
                    const std::string& file) {
  together(group, "verify", [&] {
    std::vector<const Reader::Places::value_type*> all;
    std::vector<uint64_t> bytes;
    for (const auto& entry : reader.tensors(file)) {
      all.push_back(&entry);
      bytes.push_back(entry.second.record->bytes);
    }
    for (const size_t i : share_of(bytes, group.rank(), group.size())) {
      const auto& [opened, record] = all[i]->second;
      const std::string message = compare(*opened, *record);
      if (!message.empty())
        throw Error(ExitCode::kCheckpoint, "tensor '" + all[i]->first + "' " + message,
                    opened->path().string(), "use another checkpoint");
    }
    return std::string();
  });
}

}  // namespace hydrofoil::checkpoint
