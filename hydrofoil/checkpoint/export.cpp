// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/checkpoint/export.h"

#include <string>
#include <vector>

#include "hydrofoil/checkpoint/agreement.h"
#include "hydrofoil/core/error.h"
#include "hydrofoil/io/file.h"
#include "hydrofoil/io/safetensors.h"
#include "hydrofoil/kernels/convert.h"
#include "hydrofoil/text/tokenizer_json.h"

namespace hydrofoil::checkpoint {
namespace {

namespace fs = std::filesystem;

// A folder that is written beside its final name, and removed again unless it is committed.
class Aside {
 public:
  explicit Aside(const fs::path& folder)
      : folder_(fs::absolute(folder / "").lexically_normal().parent_path()),
        path_(folder_.string() + ".tmp-" + io::unique_id()) {
    std::error_code error;
    fs::create_directories(path_, error);
    if (error)
      throw Error(ExitCode::kCheckpoint, "cannot make the folder: " + error.message(),
                  path_.string(), "is there room, and may this user write there?");
  }
  Aside(const Aside&) = delete;
  Aside& operator=(const Aside&) = delete;
  ~Aside() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  const fs::path& path() const { return path_; }
  void commit() {
    io::sync_directory(path_);
    io::rename_path(path_, folder_);
    io::sync_directory(folder_.parent_path());
  }

 private:
  const fs::path folder_, path_;
};

void write_floats(const io::File& file, uint64_t offset, std::span<const float> values,
                  DType dtype) {
  if (dtype == DType::kF32) return file.write_at(offset, std::as_bytes(values));
  std::vector<uint16_t> narrow(values.size());
  kernels::narrow(values, narrow, dtype);
  file.write_at(offset, std::as_bytes(std::span(narrow)));
}

// Parameters of the spec whose shape the source confirms.
std::vector<io::TensorSpec> tensors_of(const spec::ModelSpec& spec, const Weights& weights,
                                       DType dtype) {
  std::vector<io::TensorSpec> tensors;
  for (const auto& block : spec::blocks(spec))
    for (const auto& parameter : block.parameters) {
      weights.require_shape(parameter.name, parameter.shape);
      tensors.push_back({parameter.name, dtype, parameter.shape});
    }
  return tensors;
}

Exported write_weights(const spec::ModelSpec& spec, const Weights& weights, const fs::path& path,
                       DType dtype) {
  const auto tensors = tensors_of(spec, weights, dtype);
  const auto plan = io::plan_safetensors(tensors, {{"format", "pt"}});
  const io::File file(path, io::Access::kCreate);
  file.reserve(plan.file_bytes);
  file.write_at(0, std::as_bytes(std::span(plan.header)));
  std::vector<float> values;
  for (size_t i = 0; i < tensors.size(); ++i) {
    uint64_t elements = 0, bytes = 0;
    io::count_elements(tensors[i].shape, dtype, elements, bytes);
    values.resize(elements);
    weights.read(tensors[i].name, 0, values);
    write_floats(file, plan.offsets[i], values, dtype);
  }
  file.sync();
  return {.tensors = tensors.size(), .bytes = plan.file_bytes};
}

}  // namespace

Exported export_model(const ModelSource& source, const fs::path& folder, DType dtype) {
  if (fs::exists(folder) && (!fs::is_directory(folder) || !fs::is_empty(folder)))
    throw Error(ExitCode::kUsage, "exists and is not an empty folder", folder.string(),
                "choose another name");
  const auto spec = source.spec();
  const auto weights = source.weights();
  const auto tokenizer = source.tokenizer();
  Exported exported;
  as_checkpoint_errors([&] {
    Aside aside(folder);
    exported = write_weights(spec, *weights, aside.path() / "model.safetensors", dtype);
    io::atomic_write(aside.path() / "config.json", spec::hf_config(spec));
    if (tokenizer) {
      text::save_tokenizer(*tokenizer, aside.path() / "tokenizer.json");
      io::atomic_write(aside.path() / "tokenizer_config.json",
                       "{\"tokenizer_class\": \"PreTrainedTokenizerFast\"}\n");
    }
    aside.commit();
  });
  return exported;
}

}  // namespace hydrofoil::checkpoint
