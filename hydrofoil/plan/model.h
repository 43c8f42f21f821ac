// SPDX-License-Identifier: Apache-2.0
// What is planned: a model as units with sizes, and a run as a few numbers. No tensors.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "hydrofoil/mesh/mesh.h"
#include "hydrofoil/parallel/stages.h"
#include "hydrofoil/spec/model_spec.h"
#include "hydrofoil/spec/tensor_part.h"
#include "hydrofoil/spec/units.h"

namespace hydrofoil::plan {

struct Unit {
  std::string name;
  std::vector<size_t> numels;     // of its tensors, in order
  std::vector<bool> linear = {};  // whether they belong to matrix products; empty: none does
  bool reduced_twice = false;     // zero::GradientReducer::reduce_twice
  bool has_twin = false;          // UnitDeclaration::has_twin
  size_t block = 0;
  size_t embedding_rows = 0, embedding_width = 0;  // of a matrix of which a batch uses some rows
  bool is_linear(size_t tensor) const { return !linear.empty() && linear[tensor]; }
};

// Units in the order in which a micro-batch touches them; backward, also where layers are
// recomputed.
struct Uses {
  std::vector<size_t> forward, backward, recomputed_backward;
};

struct Model {
  std::vector<Unit> units = {};  // in forward order, of one rank
  std::vector<Unit> whole = {};  // where ranks share matrices: the same of all of them
  Uses passes = {};
  // Units in the order in which one micro-batch touches them, and where layers are recomputed.
  std::vector<size_t> uses = {}, recomputed_uses = {};
  bool tied = false;  // the last unit is used beside the first: a head that is the embedding, too
  int64_t unit_elements = 0;  // see spec/units.h
  bool tiled_head = false;    // the head's matrix comes in tiles
  int kv_ranks = 1;           // that share the keys and values of rank 0
  size_t largest_layer = 0;   // elements of the largest single layer (DeepSpeed's estimator)
  // Of one rank. Where it is known, so are activations and FLOPs.
  std::optional<spec::ModelSpec> spec = {};
  std::optional<spec::ModelSpec> whole_spec = {};  // of which it is this part
  spec::TensorPart part = {};
  spec::HeldBlocks held = {};  // of its blocks; empty: all

  bool holds(size_t block) const { return held.empty() || held[block]; }
  bool has_head() const { return held.empty() || held.back(); }
  int64_t layers() const;  // of the spec, held

  const std::vector<Unit>& all_units() const { return whole.empty() ? units : whole; }
  size_t parameters() const;  // elements of all ranks' parts, without padding
};

// Uses: the embedding, the layers, the head; with a tied head the embedding again; then backward,
// which multiplies by every weight again but for the embedding's and, the head's gradients being
// made together with the loss, the head's matrix: only its tiles are read once more. The units of a
// layer that is recomputed come forward before they come backward.
Model model_of(const spec::ModelSpec& spec, int64_t unit_elements = 0, spec::TensorPart part = {},
               const spec::HeldBlocks& held = {});
// Any list of units, used in order and in reverse.
Model model_of(std::vector<Unit> units);

// What lies in files: so many pieces at a time are in memory.
struct Files {
  size_t chunk_elements = size_t{1} << 20;  // of a piece
  size_t buffers = 4;
  double share = 1;  // of the units, the last ones; of states only

  size_t pieces(size_t elements) const;  // of a column
  // What a column takes in the file: every piece in whole blocks of the disk.
  uint64_t padded_bytes(size_t elements, size_t element_bytes) const;
};

// Of one element.
struct ElementBytes {
  size_t parameter = 4;                           // at rest and on the wire
  size_t compute = 4;                             // as operators see it
  size_t gradient_wire = 4;                       // on its way
  std::vector<size_t> optimizer_widths = {4, 4};  // states, master copy, average
  size_t optimizer() const;                       // all of them
};

struct RunShape {
  int ranks = 1;             // that ZeRO slices over: of one stage
  int tensor_ranks = 1;      // that share the model's matrices
  int stage = 0;             // ZeRO
  int64_t micro_batch = 1;   // sequences, a rank
  int64_t accumulation = 1;  // micro-batches of a step
  int64_t sequence_length = 256;
  int sequence_ranks = 1;  // of the ranks: that share every sequence
  parallel::PipelineChoice pipeline = {};
  int pipeline_stage = 0;          // which the plan is of
  std::vector<size_t> cuts = {};   // where the blocks of each link begin; one stage: not looked at
  int64_t mlp_rows = 0;            // tokens that a feed-forward works on at a time; 0: all
  bool recompute = false;          // layers keep their inputs only
  size_t parameter_bytes = 4;      // an element at rest and on the wire
  size_t compute_bytes = 4;        // an element as operators see it
  size_t gradient_bytes = 4;       // an element, accumulated
  size_t gradient_wire_bytes = 4;  // an element on its way
  bool sparse_gradients = false;   // stage 0: of embeddings, rows in use travel alone
  std::vector<size_t> optimizer_widths = {4, 4};  // an element: states, master copy, average
  bool masters = false;                           // the parameters are copies of
  // Of parameters of matrix products, where they differ: autocast.
  std::optional<ElementBytes> linear = {};
  bool norms_first = false;                    // the optimizer walks twice (LAMB)
  uint64_t save_buffer_bytes = 0;              // budget of the copy that is saved beside training
  std::optional<Files> state_files = {};       // and gradients, where they are slices
  std::optional<Files> parameter_files = {};   // stage 3
  std::optional<Files> activation_files = {};  // inputs of recomputed layers
  bool update_in_backward = false;             // gradients are used as they come
  struct Zenflow {
    double share = 0.1;         // of columns
    int64_t rest_interval = 1;  // steps between updates of the rest; 1 where it is not known
  };
  std::optional<Zenflow> zenflow = {};
  // Budget of gathered or widened parameters. None: smallest_resident_bytes.
  std::optional<uint64_t> resident_bytes = {};
  int64_t steps = 1;                               // of the whole run
  int64_t saves = 1;                               // checkpoints it writes
  std::optional<uint64_t> max_bytes_written = {};  // to files, by all ranks in the whole run
  int64_t checkpoints = 1;  // of them on the disk at one time, the one being written included

  // One rank has nobody to share with: it keeps everything, whatever the stage, but for what lies
  // in files.
  int effective_stage() const {
    if (ranks > 1 || parameter_files) return stage;
    return gradient_files() || zenflow ? 2 : 0;
  }
  // Whether gradients are reduced after every micro-batch, not once a step.
  bool reduces_each() const { return effective_stage() >= 2 && !pipeline.several_backwards(); }
  int all_ranks() const { return ranks * tensor_ranks * pipeline.stages; }
  mesh::Sizes mesh() const {
    return {.pp = pipeline.stages,
            .dp = ranks / sequence_ranks,
            .sp = sequence_ranks,
            .tp = tensor_ranks};
  }
  // What a stage does, in order; and all of them.
  std::vector<parallel::Task> tasks(int of_stage) const {
    return parallel::tasks_of(pipeline, static_cast<int>(accumulation), of_stage);
  }
  std::vector<std::vector<parallel::Task>> tasks() const;
  parallel::PipelineShape pipeline_shape() const {
    return pipeline.shape(static_cast<int>(accumulation));
  }
  // Tokens of a sequence that a rank has, at most.
  int64_t part_length() const { return (sequence_length + sequence_ranks - 1) / sequence_ranks; }
  bool gradient_files() const { return state_files && stage >= 2; }
  bool any_files() const { return state_files || parameter_files; }
  // Of this many units, the first whose optimizer states lie in files.
  size_t first_in_files(size_t units) const;
  // Whether files keep what an update writes over (EngineOptions::update_in_backward).
  bool takes_back() const {
    return update_in_backward && state_files && state_files->share == 1 &&
           (parameter_files || masters);
  }
  // Whether operators see copies of what is kept.
  bool copies() const { return effective_stage() == 3 || compute_bytes != parameter_bytes; }
  ElementBytes element_bytes(bool of_linear) const;
  double tokens_per_step() const;  // a rank
};

// Elements of a segment with all padding, and of the slice each rank owns of it.
struct SegmentSize {
  size_t numel = 0, slice_numel = 0;
  ElementBytes bytes = {};
  // What a rank updates of it.
  size_t own(const RunShape& run) const { return run.effective_stage() >= 1 ? slice_numel : numel; }
};
struct UnitSize {
  size_t numel = 0, slice_numel = 0;  // of all segments
  std::vector<SegmentSize> segments = {};
  // `what`: a member of ElementBytes.
  uint64_t bytes(const auto& what) const {
    uint64_t sum = 0;
    for (const auto& segment : segments) sum += segment.numel * std::invoke(what, segment.bytes);
    return sum;
  }
  uint64_t slice_bytes(const auto& what) const {
    uint64_t sum = 0;
    for (const auto& segment : segments)
      sum += segment.slice_numel * std::invoke(what, segment.bytes);
    return sum;
  }
};
std::vector<UnitSize> unit_sizes(const Model& model, const RunShape& run);

// What the run's stage holds of a model with all blocks, whose spec is known; one stage: all of it.
Model stage_of(const Model& model, const RunShape& run);

// What all stages hold: models that are alike are there once.
struct Stages {
  std::vector<Model> kinds;
  std::vector<size_t> kind;  // of each stage
  const Model& of(int stage) const { return kinds[kind[static_cast<size_t>(stage)]]; }
};
Stages stages_of(const Model& model, const RunShape& run);

// Units in the order in which a step touches them, so many times over.
struct StepUses {
  std::vector<size_t> uses;
  int64_t times = 1;
};
StepUses step_uses(const Model& model, const RunShape& run);
inline const std::vector<size_t>& uses_of(const Model& model, const RunShape& run) {
  return run.recompute ? model.recomputed_uses : model.uses;
}

// Bytes of each unit as operators see it, and as it is kept whole (whole pages).
std::vector<uint64_t> resident_unit_bytes(const Model& model, const RunShape& run);
std::vector<uint64_t> stored_unit_bytes(const Model& model, const RunShape& run);

// The smallest budget with which no unit is gathered twice in one direction: the most that any two
// consecutive uses need, and where the head is tied, the embedding beside the head and the last
// layer. Where layers are several units, a recomputed one is gathered once more.
uint64_t smallest_resident_bytes(const Model& model, const RunShape& run);

}  // namespace hydrofoil::plan
