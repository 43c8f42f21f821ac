// SPDX-License-Identifier: Apache-2.0
// DeepSpeed's own checkpoints, stages 0 to 3, as they lie: what its zero_to_fp32 gives, without a
// conversion.
//
//   DIR/latest                                    "global_step500"
//   DIR/global_step500/mp_rank_00_model_states.pt                stages 0-2
//                      zero_pp_rank_R_mp_rank_00_model_states.pt   stage 3, one a rank
//                      [bf16_]zero_pp_rank_R_mp_rank_00_optim_states.pt   stages 1-3, one a rank
//
// The fp32 weights and the moments of Adam are slices of flat tensors in the files of the ranks;
// the order and the shapes of the parameters say which elements are whose. Tied parameters are
// aliases; frozen ones and buffers come in the type they were trained in, as all does at stage 0.
#pragma once

#include <cstdint>
#include <deque>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "hydrofoil/checkpoint/model_source.h"
#include "hydrofoil/io/file.h"
#include "hydrofoil/io/torch_zip.h"

namespace hydrofoil::checkpoint {

// The folder with the files: `path` itself, or the one that its file `latest` names. Nothing where
// there is no such checkpoint.
std::optional<std::filesystem::path> deepspeed_folder(const std::filesystem::path& path);

// Files stay mapped; any element range of any tensor is read from the files that hold it. Failures
// are Error(kCheckpoint) and name the file: one that is damaged, missing, or of another kind of
// parallelism (pipeline, tensor, expert), which is not read.
class DeepSpeedWeights final : public Weights {
 public:
  explicit DeepSpeedWeights(const std::filesystem::path& folder);

  const std::filesystem::path& folder() const { return folder_; }
  // Moments stand under "exp_avg.<name>" and "exp_avg_sq.<name>".
  bool has(const std::string& name) const;
  std::vector<int64_t> shape(const std::string& name) const override;
  void read(const std::string& name, size_t begin, std::span<float> out) const override;

  struct Progress {
    int64_t steps = 0;    // tried, the skipped ones included
    int64_t skipped = 0;  // for gradients that were not finite
    int64_t samples = 0;  // over all ranks
  };
  const Progress& progress() const { return progress_; }

 private:
  friend class DeepSpeedLayout;
  struct Flat {  // a tensor of a file
    const io::MappedFile* file;
    io::TorchTensor tensor;
  };
  struct Piece {  // elements [begin, begin + count) of it
    const Flat* flat;
    uint64_t begin, count;
  };
  struct Tensor {
    std::vector<int64_t> shape;
    std::vector<Piece> pieces;
  };
  const Tensor& find(const std::string& name) const;

  std::filesystem::path folder_;
  std::deque<io::MappedFile> files_;  // addresses are stable, here and below
  std::deque<Flat> flats_;
  std::map<std::string, Tensor> tensors_;
  Progress progress_;
};

}  // namespace hydrofoil::checkpoint
