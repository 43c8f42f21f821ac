// SPDX-License-Identifier: Apache-2.0
// What the training engine sees of a model: an ordered list of blocks with named parameters.
//
//   at::Tensor x = batch.tokens;
//   for (int b = 0; b + 1 < program.blocks(); ++b) x = program.forward(b, x, batch);
//   LossSum loss = program.loss(x, batch);
//   loss.sum.backward();          // unscaled: the engine divides by the global weight, once
//
// All matrix products, attention's too, are computed in one type: that of the narrowest parameter.
// Where the weights of products are narrower than the rest this is what autocast computes: norms,
// embeddings and what layers add up stay in their own, wider type.
//
// A block is the grain of gathering, recompute and pipelining. Parameters may be *released* between
// operators (their memory gone, their shape kept): a program touches them with at:: operators only,
// never through data_ptr, and keeps no raw copy of them.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>

#include "hydrofoil/models/sequence_seam.h"
#include "hydrofoil/models/tensor_seam.h"
#include "hydrofoil/spec/model_spec.h"
#include "hydrofoil/spec/units.h"

namespace hydrofoil::models {

inline constexpr int64_t kIgnoreLabel = -100;

struct Batch {
  at::Tensor tokens;  // [B, T] int64
  at::Tensor labels;  // [B, T] int64: the token that position t should predict, or kIgnoreLabel
  // Of encoders. Labels are those of masked tokens, or one class a sequence, [B].
  at::Tensor token_types = {};  // [B, T] int64; undefined: all 0
  at::Tensor lengths = {};  // [B] int64, at least 1: where a row's padding begins; undefined: none
  SequencePart part = {};   // of programs with a sequence seam
};

// One divisor, applied at the boundary of a step: losses of micro-batches and ranks simply add up.
struct LossSum {
  at::Tensor sum;     // scalar fp32, over labelled tokens
  double weight = 0;  // labelled tokens
};

struct NamedTensor {
  std::string name;   // HF name; of a tile of rows "name[begin:end]"
  at::Tensor tensor;  // a leaf that requires a gradient
};

class Program {
 public:
  virtual ~Program() = default;
  virtual const spec::ModelSpec& spec() const = 0;

  // Blocks in forward order; the last is the head, which turns hidden states into a loss.
  virtual int blocks() const = 0;
  // As spec::tiled_blocks lists them. A tied weight is listed once, in the first block held that
  // uses it.
  virtual std::span<const NamedTensor> parameters(int block) const = 0;
  virtual std::span<const spec::ParameterSpec> parameter_specs(int block) const = 0;

  // For every block but the head. Block 0 takes tokens [B, T], the others hidden states [B, T, H].
  virtual at::Tensor forward(int block, const at::Tensor& input, const Batch& batch) const = 0;
  virtual LossSum loss(const at::Tensor& hidden, const Batch& batch) const = 0;
  // Next-token logits, [.., V] from hidden states [.., H] (an encoder's: see there). Where ranks
  // share the vocabulary all take part, and each has all of them, without gradients.
  virtual at::Tensor logits(const at::Tensor& hidden) const = 0;
};

// Makes the tensor of one parameter: full shape, contiguous, a leaf. Called once each, in order.
// Whoever shards parameters passes its own: memory may come as late as the first operator.
using Allocate = std::function<at::Tensor(int block, const spec::ParameterSpec&)>;
at::Tensor with_memory(int block, const spec::ParameterSpec&);  // fp32, uninitialised

// How a program holds and uses its parameters: nothing that its results show beyond rounding.
struct ProgramOptions {
  int64_t unit_elements =
      0;                 // spec/units.h: a vocabulary's matrix of more comes in tiles; 0: whole
  int64_t mlp_rows = 0;  // that a feed-forward works on at a time; 0: all
  // Of decoders: batches are parts of sequences. Must outlive the program.
  const SequenceSeam* sequence = nullptr;
  // Of decoders: the blocks that have parameters here, and can be run; empty: all.
  spec::HeldBlocks held = {};
  bool holds(size_t block) const { return held.empty() || held[block]; }
  // Ranks share the model's matrices: parameters are the part of one. Must outlive the program.
  const TensorSeam* tensor = nullptr;
  spec::TensorPart part() const { return tensor ? tensor->part() : spec::TensorPart{}; }
};

// A Decoder, or an Encoder where the model is none. Parameters are those of spec::tiled_blocks.
// Error(kConfig) for what cannot be run.
std::unique_ptr<Program> make_program(const spec::ModelSpec& spec,
                                      const Allocate& allocate = with_memory,
                                      const ProgramOptions& options = {});
// Fills every parameter from `seed` (see initialize.h), in place.
void initialize(const Program& program, uint64_t seed);

// All blocks in turn, without recompute: the states the head takes, [B, T, H], and its loss.
at::Tensor hidden_states(const Program& program, const Batch& batch);
LossSum forward_loss(const Program& program, const Batch& batch);

}  // namespace hydrofoil::models
