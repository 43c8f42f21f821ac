// SPDX-License-Identifier: Apache-2.0
// Sizes of a packed model, and of the outline of one.
#include "hydrofoil/core/align.h"
#include "hydrofoil/inference/packed_model.h"
#include "hydrofoil/io/file.h"

namespace hydrofoil::inference {
namespace {

size_t bytes_of(const std::vector<float>& values) {
  return values.size() * sizeof(float);
}
size_t bytes_of(const NormWeights& norm) {
  return bytes_of(norm.weight) + bytes_of(norm.bias);
}
size_t bytes_of(const Matrix& matrix) {
  return matrix ? matrix.shape.bytes() : 0;
}
double products_of(const Matrix& matrix) {
  return static_cast<double>(matrix.shape.rows) * static_cast<double>(matrix.shape.columns);
}

}  // namespace

size_t Matrix::stream_bytes() const {
  return round_up(shape.bytes(), io::kDirectAlign);
}
size_t LayerWeights::matrix_bytes() const {
  size_t bytes = 0;
  for (const Matrix* matrix : matrices()) bytes += bytes_of(*matrix);
  return bytes;
}
size_t LayerWeights::stream_bytes() const {
  size_t bytes = 0;
  for (const Matrix* matrix : matrices()) bytes += matrix->stream_bytes();
  return bytes;
}

size_t PackedModel::bytes() const {
  size_t bytes = tokens.packed.size() + project_in.packed.size() + project_out.packed.size() +
                 head.packed.size();
  for (const auto& layer : layers)
    for (const Matrix* matrix : layer.matrices()) bytes += matrix->packed.size();
  return bytes;
}

WeightBytes PackedModel::weight_bytes() const {
  WeightBytes bytes{.embedding = bytes_of(tokens), .head = bytes_of(head)};
  bytes.rest =
      bytes_of(positions) + bytes_of(embedding_norm) + bytes_of(final_norm) + bytes_of(head_bias);
  for (const Matrix* matrix : {&tokens, &project_in, &project_out, &head})
    bytes.rest += bytes_of(matrix->bias);
  for (const Matrix* matrix : {&project_in, &project_out}) bytes.rest += bytes_of(*matrix);
  for (const auto& layer : layers) {
    bytes.attention += bytes_of(layer.qkv) + bytes_of(layer.attention_output);
    bytes.feed_forward += bytes_of(layer.up) + bytes_of(layer.down);
    for (const Matrix* matrix : layer.matrices()) bytes.rest += bytes_of(matrix->bias);
    for (const NormWeights* norm :
         {&layer.attention_norm, &layer.attention_add_norm, &layer.mlp_norm, &layer.mlp_add_norm,
          &layer.query_norm, &layer.key_norm})
      bytes.rest += bytes_of(*norm);
  }
  return bytes;
}

size_t PackedModel::step_bytes() const {
  return weight_bytes().total() - (head ? bytes_of(tokens) : 0) - bytes_of(positions);
}

double PackedModel::body_products() const {
  double count = products_of(project_in);
  for (const auto& layer : layers)
    for (const Matrix* matrix : layer.matrices()) count += products_of(*matrix);
  return count;
}
double PackedModel::head_products() const {
  return products_of(project_out) + products_of(head_matrix());
}

}  // namespace hydrofoil::inference
