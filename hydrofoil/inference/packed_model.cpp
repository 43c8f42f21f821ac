// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/inference/packed_model.h"

#include <algorithm>
#include <map>
#include <memory>
#include <stdexcept>
#include <utility>

#include "hydrofoil/core/error.h"
#include "hydrofoil/core/parallel.h"
#include "hydrofoil/inference/layer_stream.h"
#include "hydrofoil/kernels/dequantize.h"
#include "hydrofoil/kernels/quantize.h"
#include "hydrofoil/kernels/rows.h"

namespace hydrofoil::inference {
namespace {

using kernels::kBlockColumns;
using kernels::kTileRows;
using kernels::Packing;
using spec::Part;

constexpr size_t kWindowElements = size_t{1} << 16;  // read at a time
constexpr size_t kGrainTiles = 4;                    // of a thread's share of a matrix

size_t stored_row_bytes(GgmlType type, size_t columns) {
  const auto& layout = layout_of(type);
  return columns / layout.block_elements * layout.block_bytes;
}

// A thread's view of a source: rows [first, first + values / columns).
struct Window {
  size_t first = 0;
  std::vector<float> values;
};

// A matrix of the file, [rows, columns] as products see it, read a window of rows at a time.
class SourceMatrix {
 public:
  SourceMatrix(const ModelReader& reader, const spec::ParameterSpec& parameter, bool transposed)
      : reader_(reader),
        name_(parameter.name),
        rows_(static_cast<size_t>(parameter.shape[transposed ? 1 : 0])),
        columns_(static_cast<size_t>(parameter.shape[transposed ? 0 : 1])),
        is_transposed_(transposed) {}

  // Before any row of a matrix that is stored the other way round is read: all of it.
  void load() {
    if (!is_transposed_) return;
    transposed_.resize(rows_ * columns_);
    reader_.read(name_, 0, transposed_);
  }
  size_t load_bytes() const { return is_transposed_ ? rows_ * columns_ * sizeof(float) : 0; }

  size_t rows() const { return rows_; }
  size_t columns() const { return columns_; }
  std::optional<GgmlType> type() const { return reader_.row_type(name_); }
  void stored_row(size_t row, std::span<std::byte> out) const { reader_.read_row(name_, row, out); }

  std::span<const float> row(size_t row, Window& window) const {
    auto& [first, values] = window;
    if (!transposed_.empty()) {
      values.resize(columns_);
      for (size_t c = 0; c < columns_; ++c) values[c] = transposed_[c * rows_ + row];
      return values;
    }
    if (values.empty() || row < first || row >= first + values.size() / columns_) {
      const size_t count = std::min(std::max<size_t>(kWindowElements / columns_, 1), rows_ - row);
      values.resize(count * columns_);
      reader_.read(name_, row * columns_, values);
      first = row;
    }
    return std::span(values).subspan((row - first) * columns_, columns_);
  }

 private:
  const ModelReader& reader_;
  std::string name_;
  size_t rows_, columns_;
  bool is_transposed_;
  std::vector<float> transposed_ = {};  // [columns, rows], of a matrix that is stored so
};

// Where a row of a packed matrix comes from; no source: zeros.
struct RowOf {
  size_t source = SIZE_MAX, row = 0;
};

Packing packing_of(WeightType type) {
  switch (type) {
    case WeightType::kBF16:
      return Packing::kBF16;
    case WeightType::kQ8:
      return Packing::kQ8;
    case WeightType::kQ4:
      return Packing::kQ4;
    case WeightType::kQ4Min:
      return Packing::kQ4Min;
    case WeightType::kAsStored:
    case WeightType::kF32:
      break;
  }
  return Packing::kF32;
}

Packing nearest_packing(std::optional<GgmlType> type) {
  if (!type) return Packing::kF32;
  for (const Packing packing :
       {Packing::kF32, Packing::kBF16, Packing::kQ8, Packing::kQ4, Packing::kQ4Min})
    if (kernels::stored_type(packing) == *type) return packing;
  if (*type == GgmlType::kQ4_K) return Packing::kQ4Min;
  return layout_of(*type).block_elements > 1 ? Packing::kQ8 : Packing::kF32;
}

// Embedding and head, which every token passes, suffer most from 4 bits: they take 8.
WeightType without_4_bits(WeightType type) {
  return type == WeightType::kQ4 || type == WeightType::kQ4Min ? WeightType::kQ8 : type;
}

// What keeps all of them: their packing where it is the same, bytes for different blocks, else
// fp32.
Packing common_packing(const std::vector<SourceMatrix>& sources, WeightType type) {
  Packing packing = packing_of(type);
  if (type == WeightType::kAsStored) {
    packing = nearest_packing(sources.front().type());
    for (const auto& source : sources)
      if (const auto other = nearest_packing(source.type()); other != packing)
        packing = kernels::multiplies_bytes(other) && kernels::multiplies_bytes(packing)
                      ? Packing::kQ8
                      : Packing::kF32;
  }
  const bool blocks = sources.front().columns() % kBlockColumns == 0;
  return kernels::multiplies_bytes(packing) && !blocks ? Packing::kF32 : packing;
}

enum class Fill : uint8_t { kNumbers, kNothing };

class Packer {
 public:
  Packer(const spec::ModelSpec& spec, const ModelReader& reader, WeightType type,
         Fill fill = Fill::kNumbers)
      : spec_(spec), reader_(reader), type_(type), fill_(fill), blocks_(spec::blocks(spec)) {}

  PackedModel pack(const Streaming& streaming = {}) {
    PackedModel model{.spec = spec_, .residency = streaming.residency};
    std::unique_ptr<LayerStream> stream;
    if (model.residency.streamed > 0)
      stream = std::make_unique<LayerStream>(streaming.folder, model.residency);
    const auto& first = blocks_.front();
    model.tokens = matrix(first, Part::kTokens, /*linear=*/false);
    if (const auto* positions = find(first, Part::kPositions)) model.positions = read(*positions);
    if (const auto* types = find(first, Part::kTokenTypes)) add_first_row(*types, model.positions);
    model.embedding_norm = norm(first, Part::kEmbeddingNorm, spec_.norm);
    model.project_in = matrix(first, Part::kProjectIn);
    for (size_t layer = 0; layer + 2 < blocks_.size(); ++layer) {
      model.layers.push_back(pack_layer(blocks_[layer + 1]));
      if (model.residency.streams(layer)) stream->put(layer, model.layers.back());
    }
    if (spec_.causal) pack_head(blocks_.back(), model);
    model.packing_bytes = packing_bytes_;
    if (stream) stream->start();
    model.source = std::move(stream);
    return model;
  }

 private:
  LayerWeights pack_layer(const spec::BlockSpec& block) {
    LayerWeights layer{.attention_norm = norm(block, Part::kAttentionNorm, spec_.norm),
                       .attention_add_norm = norm(block, Part::kAttentionAddNorm, spec_.norm),
                       .mlp_norm = norm(block, Part::kMlpNorm, spec_.norm),
                       .mlp_add_norm = norm(block, Part::kMlpAddNorm, spec_.norm),
                       .query_norm = norm(block, Part::kQueryNorm, spec::Norm::kRmsNorm),
                       .key_norm = norm(block, Part::kKeyNorm, spec::Norm::kRmsNorm)};
    layer.qkv = qkv(block);
    layer.attention_output = matrix(block, Part::kAttentionOutput);
    layer.up = up(block);
    layer.down = matrix(block, Part::kDown);
    return layer;
  }

  void pack_head(const spec::BlockSpec& last, PackedModel& model) {
    model.final_norm = norm(last, Part::kFinalNorm, spec_.norm);
    model.project_out = matrix(last, Part::kProjectOut);
    model.head = matrix(last, Part::kHead, /*linear=*/false);
    if (const auto* bias = find(last, Part::kHead, true); bias && !model.head)
      model.head_bias = read(*bias);
  }

  // Every position's row gets that of token type 0.
  void add_first_row(const spec::ParameterSpec& types, std::vector<float>& positions) const {
    const std::vector<float> rows = read(types);
    const auto width = static_cast<size_t>(types.shape[1]);
    for (size_t i = 0; i < positions.size(); ++i) positions[i] += rows[i % width];
  }

  static const spec::ParameterSpec* find(const spec::BlockSpec& block, Part part,
                                         bool bias = false) {
    for (const auto& parameter : block.parameters)
      if (parameter.part == part && parameter.bias == bias) return &parameter;
    return nullptr;
  }

  std::vector<float> read(const spec::ParameterSpec& parameter) const {
    std::vector<float> values(static_cast<size_t>(parameter.numel()));
    if (fill_ == Fill::kNumbers) reader_.read(parameter.name, 0, values);
    return values;
  }

  NormWeights norm(const spec::BlockSpec& block, Part part, spec::Norm kind) const {
    NormWeights norm{.kind = kind};
    const auto* weight = find(block, part);
    if (!weight) return norm;
    norm.weight = read(*weight);
    if (spec_.norm_unit_offset)
      for (float& value : norm.weight) value += 1;
    if (const auto* bias = find(block, part, true)) norm.bias = read(*bias);
    return norm;
  }

  // Rows one after the other.
  Matrix matrix(const spec::BlockSpec& block, Part part, bool linear = true) {
    if (!find(block, part)) return {};
    return stack(block, {part}, linear);
  }
  Matrix stack(const spec::BlockSpec& block, const std::vector<Part>& parts, bool linear = true) {
    std::vector<RowOf> rows;
    for (size_t source = 0; source < parts.size(); ++source) {
      const auto& shape = find(block, parts[source])->shape;
      const auto count = static_cast<size_t>(shape[linear && spec_.transposed_linear ? 1 : 0]);
      for (size_t row = 0; row < count; ++row) rows.push_back({source, row});
    }
    return assemble(block, parts, rows, linear);
  }

  Matrix qkv(const spec::BlockSpec& block) {
    if (!spec_.fused_qkv) return stack(block, {Part::kQuery, Part::kKey, Part::kValue});
    if (!spec_.qkv_by_group) return stack(block, {Part::kQkv});
    const auto kv_heads = static_cast<size_t>(spec_.kv_heads),
               group = static_cast<size_t>(spec_.heads / spec_.kv_heads),
               dim = static_cast<size_t>(spec_.head_dim);
    std::vector<RowOf> rows;
    // Heads [first, last) of every group.
    const auto take = [&](size_t first, size_t last) {
      for (size_t kv = 0; kv < kv_heads; ++kv)
        for (size_t row = first * dim; row < last * dim; ++row)
          rows.push_back({0, kv * (group + 2) * dim + row});
    };
    take(0, group);
    take(group, group + 1);
    take(group + 1, group + 2);
    return assemble(block, {Part::kQkv}, rows);
  }

  Matrix up(const spec::BlockSpec& block) {
    if (!spec_.gated_mlp) return matrix(block, Part::kUp);
    const auto inner = static_cast<size_t>(spec_.intermediate_size);
    const bool fused = spec_.fused_gate_up;
    std::vector<RowOf> rows;
    for (size_t first = 0; first < inner; first += kTileRows)
      for (const bool is_up : {false, true})
        for (size_t row = first; row < first + kTileRows; ++row) {
          if (row >= inner)
            rows.push_back({});
          else if (fused)
            rows.push_back({0, row + (is_up ? inner : 0)});
          else
            rows.push_back({is_up ? size_t{1} : size_t{0}, row});
        }
    return assemble(block, fused ? std::vector{Part::kGateUp} : std::vector{Part::kGate, Part::kUp},
                    rows);
  }

  Matrix assemble(const spec::BlockSpec& block, const std::vector<Part>& parts,
                  const std::vector<RowOf>& rows, bool linear = true) {
    std::vector<SourceMatrix> sources;
    std::vector<std::vector<float>> biases;
    for (const Part part : parts) {
      sources.emplace_back(reader_, *find(block, part), linear && spec_.transposed_linear);
      if (const auto* bias = find(block, part, true)) biases.push_back(read(*bias));
    }
    const size_t columns = sources.front().columns();
    Matrix matrix{
        .shape = {.rows = rows.size(),
                  .columns = columns,
                  .packing = common_packing(sources, linear ? type_ : without_4_bits(type_))}};
    size_t beside = rows.size() * sizeof(RowOf);
    for (const auto& source : sources) beside += source.load_bytes();
    packing_bytes_ = std::max(packing_bytes_, beside);
    if (!biases.empty()) {
      matrix.bias.resize(matrix.padded_rows());
      for (size_t row = 0; row < rows.size(); ++row)
        if (rows[row].source != SIZE_MAX)
          matrix.bias[row] = biases[rows[row].source][rows[row].row];
    }
    if (fill_ == Fill::kNothing) return matrix;
    for (auto& source : sources) source.load();
    matrix.packed = Aligned<std::byte>(matrix.shape.bytes());
    parallel_for(matrix.shape.tiles(), kGrainTiles, [&](size_t begin, size_t end) {
      pack_rows(sources, rows, begin * kTileRows, std::min(end * kTileRows, rows.size()), matrix);
    });
    return matrix;
  }

  static void pack_rows(const std::vector<SourceMatrix>& sources, const std::vector<RowOf>& rows,
                        size_t begin, size_t end, Matrix& matrix) {
    const GgmlType stored = kernels::stored_type(matrix.shape.packing);
    std::vector<std::byte> bytes(stored_row_bytes(stored, matrix.shape.columns)), blocks;
    std::vector<Window> windows(sources.size());
    for (size_t i = begin; i < end; ++i) {
      const auto [source, row] = rows[i];
      if (source == SIZE_MAX) continue;
      const SourceMatrix& from = sources[source];
      if (from.type() == stored) {
        from.stored_row(row, bytes);
      } else if (from.type() == GgmlType::kQ4_K && stored == GgmlType::kQ4_1) {
        blocks.resize(stored_row_bytes(GgmlType::kQ4_K, from.columns()));
        from.stored_row(row, blocks);
        kernels::q4_k_to_q4_1(blocks, bytes);
      } else {
        kernels::quantize(stored, from.row(row, windows[source]), bytes);
      }
      kernels::pack_row(matrix.shape, i, bytes, matrix.packed.span());
    }
  }

  const spec::ModelSpec& spec_;
  const ModelReader& reader_;
  const WeightType type_;
  const Fill fill_;
  const std::vector<spec::BlockSpec> blocks_;
  size_t packing_bytes_ = 0;
};

void require_decoder(const spec::ModelSpec& spec) {
  if (!spec.causal)
    throw Error(ExitCode::kConfig,
                "the " + spec.family + " model is an encoder: it does not predict the next token",
                {}, "take a decoder, such as gpt2 or llama");
}

}  // namespace

void Matrix::read_row(size_t row, std::span<float> out) const {
  const GgmlType type = kernels::stored_type(shape.packing);
  thread_local std::vector<std::byte> bytes;  // a step allocates nothing
  bytes.resize(stored_row_bytes(type, shape.columns));
  kernels::unpack_row(shape, row, packed.span(), bytes);
  kernels::dequantize(type, bytes, out);
}

void NormWeights::apply(std::span<const float> x, double epsilon, float* out) const {
  if (kind == spec::Norm::kRmsNorm)
    kernels::rms_norm(x, weight.data(), static_cast<float>(epsilon), out);
  else
    kernels::layer_norm(x, weight.data(), bias.empty() ? nullptr : bias.data(),
                        static_cast<float>(epsilon), out);
}

PackedModel pack_model(const spec::ModelSpec& spec, const ModelReader& reader, WeightType type,
                       const Streaming& streaming) {
  require_decoder(spec);
  return Packer(spec, reader, type).pack(streaming);
}

PackedModel pack_encoder(const spec::ModelSpec& spec, const ModelReader& reader, WeightType type) {
  if (spec.causal)
    throw Error(ExitCode::kConfig,
                "the " + spec.family + " model is a decoder: its hidden states are of what follows",
                {}, "take an encoder, such as bert or roberta");
  return Packer(spec, reader, type).pack();
}

PackedModel outline_model(const spec::ModelSpec& spec, const ModelReader& reader, WeightType type) {
  require_decoder(spec);
  return Packer(spec, reader, type, Fill::kNothing).pack();
}

}  // namespace hydrofoil::inference
