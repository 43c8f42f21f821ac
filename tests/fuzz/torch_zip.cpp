// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/io/torch_zip.h"

#include <array>

#include "hydrofoil/core/error.h"
#include "tests/fuzz/target.h"

namespace hydrofoil::fuzz {
namespace {

constexpr size_t kTensorsRead = 64;  // each is no larger than the file

void run(const std::string& input) {
  // As DeepSpeed's files are read: with objects beside the tensors.
  constexpr std::array<std::string_view, 4> kNames = {
      "torch Size", "deepspeed.runtime.fp16.loss_scaler LossScaler",
      "deepspeed.runtime.zero.config ZeroStageEnum",
      "deepspeed.utils.tensor_fragment fragment_address"};
  try {
    const io::TorchArchive archive(bytes_of(input), "f", kNames);
    for (const io::PickleValue* value : archive.root().items)
      if (io::TorchArchive::is_tensor(*value)) archive.tensor("t", *value);
  } catch (const Error&) {
  }
  std::vector<io::TorchTensor> tensors;
  try {
    tensors = io::parse_torch_zip(bytes_of(input), "f");
  } catch (const Error&) {
    return;
  }
  for (size_t i = 0; i < std::min(tensors.size(), kTensorsRead); ++i) {
    require(tensors[i].bytes <= input.size(), "no more elements than the file holds");
    std::vector<std::byte> out(tensors[i].bytes);
    io::read_strided(bytes_of(input), tensors[i], 0, out);
  }
}

std::vector<std::string> seeds() {
  const std::string deepspeed = "checkpoint/golden/deepspeed/stage3_bf16/global_step2/";
  return {read_seed("io/golden/torch_protocol4.bin"), read_seed("io/golden/torch.bin"),
          read_seed(deepspeed + "zero_pp_rank_0_mp_rank_00_model_states.pt"),
          read_seed(deepspeed + "bf16_zero_pp_rank_0_mp_rank_00_optim_states.pt")};
}

}  // namespace

const Target& torch_zip_target() {
  static const Target target{"torch_zip",
                             run,
                             seeds,
                             {"PK\1\2", "PK\3\4", "PK\5\6", "ctorch\nFloatStorage\n", "\x93", "q\1",
                              "h\1", "(", "t", "R", "}", "u", "Q", "\x81", "b"}};
  return target;
}

}  // namespace hydrofoil::fuzz
