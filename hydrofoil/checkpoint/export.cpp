// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/checkpoint/export.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <iterator>
#include <string>
#include <utility>
#include <vector>

#include "hydrofoil/checkpoint/agreement.h"
#include "hydrofoil/core/error.h"
#include "hydrofoil/core/parallel.h"
#include "hydrofoil/io/file.h"
#include "hydrofoil/io/gguf_writer.h"
#include "hydrofoil/io/safetensors.h"
#include "hydrofoil/kernels/norm.h"
#include "hydrofoil/kernels/quantize.h"
#include "hydrofoil/spec/from_gguf.h"
#include "hydrofoil/spec/to_gguf.h"
#include "hydrofoil/text/tokenizer.h"
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

GgmlType ggml_type(DType dtype) {
  return ggml_type_from_name(name_of(dtype)).value();
}

// Tensors one at a time, as they are to be stored.
class Tensors {
 public:
  explicit Tensors(const Weights& weights) : weights_(weights) {}

  // Valid until the next call, as what stored() returns.
  std::span<const float> read(const std::string& name, std::span<const int64_t> shape) {
    weights_.require_shape(name, shape);
    uint64_t elements = 0, bytes = 0;
    io::count_elements(shape, DType::kF32, elements, bytes);
    values_.resize(elements);
    weights_.read(name, 0, values_);
    return values_;
  }
  std::span<const std::byte> stored(std::span<const float> values, GgmlType type) {
    if (type == GgmlType::kF32) return std::as_bytes(values);
    constexpr size_t kGrain = size_t{1} << 14;  // elements of a thread's share: whole blocks
    const size_t elements = layout_of(type).block_elements, bytes = layout_of(type).block_bytes;
    stored_.resize(values.size() / elements * bytes);
    parallel_for(values.size() / elements, kGrain / elements, [&](size_t begin, size_t end) {
      const size_t count = end - begin;
      kernels::quantize(type, values.subspan(begin * elements, count * elements),
                        std::span(stored_).subspan(begin * bytes, count * bytes));
    });
    return stored_;
  }

 private:
  const Weights& weights_;
  std::vector<float> values_;
  std::vector<std::byte> stored_;
};

Exported write_safetensors(const spec::ModelSpec& spec, const Weights& weights,
                           const fs::path& path, DType dtype) {
  std::vector<io::TensorSpec> specs;
  for (const auto& block : spec::blocks(spec))
    for (const auto& parameter : block.parameters)
      specs.push_back({parameter.name, dtype, parameter.shape});
  const auto plan = io::plan_safetensors(specs, {{"format", "pt"}});
  const io::File file(path, io::Access::kCreate);
  file.reserve(plan.file_bytes);
  file.write_at(0, std::as_bytes(std::span(plan.header)));
  Tensors tensors(weights);
  for (size_t i = 0; i < specs.size(); ++i)
    file.write_at(plan.offsets[i],
                  tensors.stored(tensors.read(specs[i].name, specs[i].shape), ggml_type(dtype)));
  file.sync();
  return {.tensors = specs.size(), .bytes = plan.file_bytes};
}

// What a file of a type is called and made of.
struct FileKind {
  GgmlType type;   // of matrices
  uint32_t ftype;  // LLAMA_FTYPE, which tools show; those of mixtures are 15 and 17, ours are plain
  GgmlType at_an_end;  // of embedding and head, which every token passes
  // Where rows are no multiples of 256: what has about as many bits in blocks of 32.
  GgmlType stand_in;
};
constexpr std::array kFileKinds = {
    FileKind{GgmlType::kQ4_0, 2, GgmlType::kQ8_0, GgmlType::kQ4_0},
    FileKind{GgmlType::kQ4_1, 3, GgmlType::kQ8_0, GgmlType::kQ4_1},
    FileKind{GgmlType::kQ5_0, 8, GgmlType::kQ8_0, GgmlType::kQ5_0},
    FileKind{GgmlType::kQ5_1, 9, GgmlType::kQ8_0, GgmlType::kQ5_1},
    FileKind{GgmlType::kQ4_K, 14, GgmlType::kQ6_K, GgmlType::kQ4_1},
    FileKind{GgmlType::kQ5_K, 16, GgmlType::kQ6_K, GgmlType::kQ5_1},
    FileKind{GgmlType::kQ6_K, 18, GgmlType::kQ6_K, GgmlType::kQ8_0},
    FileKind{GgmlType::kQ8_0, 7, GgmlType::kQ8_0, GgmlType::kQ8_0},
    FileKind{GgmlType::kF32, 0, GgmlType::kF32, GgmlType::kF32},
    FileKind{GgmlType::kF16, 1, GgmlType::kF16, GgmlType::kF16},
    FileKind{GgmlType::kBF16, 32, GgmlType::kBF16, GgmlType::kBF16},
};
static_assert(kFileKinds.size() == kernels::kQuantizeTypes.size());

const FileKind& kind_of(GgmlType type) {
  return *std::ranges::find(kFileKinds, type, &FileKind::type);
}

GgmlType wanted_type(const spec::GgufWeight& weight, GgmlType type) {
  if (weight.fp32_only) return GgmlType::kF32;
  return weight.at_an_end ? kind_of(type).at_an_end : type;
}

bool fits(const spec::GgufWeight& weight, GgmlType type) {
  return weight.stored_shape().back() % layout_of(type).block_elements == 0;
}

GgmlType type_in_file(const spec::GgufWeight& weight, GgmlType type) {
  const GgmlType wanted = wanted_type(weight, type);
  return fits(weight, wanted) ? wanted : kind_of(wanted).stand_in;
}

void check_blocks(std::span<const spec::GgufWeight> weights, GgmlType type,
                  const std::string& where) {
  const auto is_whole = [](GgmlType whole) {
    return [whole](const auto& weight) { return fits(weight, type_in_file(weight, whole)); };
  };
  const auto misfit = std::ranges::find_if_not(weights, is_whole(type));
  if (misfit == weights.end()) return;
  const auto* nearest = std::ranges::find(kernels::kQuantizeTypes, type);
  while (!std::ranges::all_of(weights, is_whole(*nearest))) ++nearest;
  throw Error(ExitCode::kConfig,
              misfit->name + " has rows of " + std::to_string(misfit->stored_shape().back()) +
                  ", and " + std::string(layout_of(type).name) + " wants multiples of " +
                  std::to_string(layout_of(type_in_file(*misfit, type)).block_elements),
              where, "the nearest type that fits is " + std::string(layout_of(*nearest).name));
}

// NaN and Inf have no code, and what shares their scale would be lost with them.
void check_finite(const std::string& name, std::span<const float> values, GgmlType type) {
  if (layout_of(type).block_elements == 1 || kernels::all_finite(values)) return;
  const auto bad = std::ranges::find_if_not(values, [](float v) { return std::isfinite(v); });
  throw Error(ExitCode::kCheckpoint,
              std::to_string(*bad) + " at element " + std::to_string(bad - values.begin()) +
                  ", which " + std::string(layout_of(type).name) + " cannot hold",
              name, "these weights are broken; f32, bf16 and f16 take them as they are");
}

std::vector<io::GgufEntry> metadata_of(const ModelSource& source, const spec::ModelSpec& spec,
                                       GgmlType type) {
  constexpr uint32_t kLayout = 2;  // of blocks, as ggml counts its own
  const std::string where = source.path().string();
  auto metadata = spec::gguf_metadata(spec, where);
  metadata.push_back({"general.file_type", io::gguf_u32(kind_of(type).ftype)});
  if (layout_of(type).block_elements > 1)
    metadata.push_back({"general.quantization_version", io::gguf_u32(kLayout)});
  if (const auto tokenizer = source.tokenizer()) {
    auto entries =
        spec::gguf_tokenizer_metadata(text::Tokenizer(*tokenizer), spec.vocab_size, where);
    std::move(entries.begin(), entries.end(), std::back_inserter(metadata));
  }
  return metadata;
}

Exported write_gguf(const ModelSource& source, const fs::path& path, GgmlType type) {
  const auto spec = source.spec();
  const auto metadata = metadata_of(source, spec, type);
  const auto weights = source.weights();
  const auto plan = spec::gguf_weights(spec);
  check_blocks(plan, type, source.path().string());
  Exported exported{.tensors = plan.size()};
  std::vector<io::GgufTensorSpec> specs;
  for (const auto& weight : plan) {
    const GgmlType stored = type_in_file(weight, type);
    specs.push_back({weight.stored_name, stored, weight.stored_shape()});
    ++exported.types[stored];
    if (stored != wanted_type(weight, type)) ++exported.stand_ins[stored];
  }
  as_checkpoint_errors([&] {
    io::GgufWriter out(path, metadata, specs);
    Tensors tensors(*weights);
    std::vector<float> reordered;
    for (const auto& weight : plan) {
      auto values = tensors.read(weight.name, weight.shape);
      check_finite(weight.name, values, type_in_file(weight, type));
      if (weight.order != spec::GgufOrder::kSame) {
        reordered.resize(values.size());
        spec::to_gguf_order(weight, values, reordered);
        values = reordered;
      }
      const auto bytes = tensors.stored(values, type_in_file(weight, type));
      out.write(weight.stored_name, bytes);
      exported.bytes += bytes.size();
    }
    out.finish();
  });
  return exported;
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
    exported = write_safetensors(spec, *weights, aside.path() / "model.safetensors", dtype);
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

Exported export_gguf(const ModelSource& source, const fs::path& file, GgmlType type) {
  if (fs::exists(file))
    throw Error(ExitCode::kUsage, "exists", file.string(), "choose another name");
  return write_gguf(source, file, type);
}

}  // namespace hydrofoil::checkpoint
