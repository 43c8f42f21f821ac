#!/usr/bin/env python3
"""Makes tests/checkpoint/golden/deepspeed with DeepSpeed (0.19.8) on the CPU: a tiny GPT-2 after two steps on two ranks.

    make_deepspeed_golden.py            all cases
    make_deepspeed_golden.py CASE RANK  one rank of one case (started by the former)

Each case is a folder as save_checkpoint leaves it, without the scripts that lie there, plus config.json and
expected.safetensors: the fp32 state dict of DeepSpeed's own zero_to_fp32 and the moments of its ds_to_universal. The
head is tied, the learned positions are frozen, there are two parameter groups, and sizes are odd.
"""
import json
import os
import pathlib
import shutil
import struct
import subprocess
import sys
import tempfile

FOLDER = pathlib.Path(__file__).resolve().parent / "golden" / "deepspeed"
RANKS = 2
CASES = {"stage0_bf16": (0, "bf16"), "stage1_fp32": (1, "fp32"), "stage2_bf16": (2, "bf16"), "stage3_bf16": (3, "bf16"),
         "stage3_fp32": (3, "fp32")}
CONFIG = {"model_type": "gpt2", "vocab_size": 11, "n_positions": 5, "n_embd": 3, "n_layer": 1, "n_head": 1}


def make_model():
    import torch
    from torch import nn

    class Conv1D(nn.Module):
        def __init__(self, inputs, outputs):
            super().__init__()
            self.weight = nn.Parameter(torch.randn(inputs, outputs) * 0.1)
            self.bias = nn.Parameter(torch.zeros(outputs))

        def forward(self, x):
            return x @ self.weight + self.bias

    class Block(nn.Module):
        def __init__(self, width):
            super().__init__()
            self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
            self.attn = nn.ModuleDict({"c_attn": Conv1D(width, 3 * width), "c_proj": Conv1D(width, width)})
            self.mlp = nn.ModuleDict({"c_fc": Conv1D(width, 4 * width), "c_proj": Conv1D(4 * width, width)})

        def forward(self, x):  # no attention: its weights only need gradients
            x = x + self.attn["c_proj"](self.attn["c_attn"](self.ln_1(x))[..., :x.shape[-1]])
            return x + self.mlp["c_proj"](torch.relu(self.mlp["c_fc"](self.ln_2(x))))

    class Gpt2(nn.Module):
        def __init__(self):
            super().__init__()
            width = CONFIG["n_embd"]
            self.transformer = nn.ModuleDict({
                "wte": nn.Embedding(CONFIG["vocab_size"], width), "wpe": nn.Embedding(CONFIG["n_positions"], width),
                "h": nn.ModuleList([Block(width)]), "ln_f": nn.LayerNorm(width)})
            self.lm_head = nn.Linear(width, CONFIG["vocab_size"], bias=False)
            self.lm_head.weight = self.transformer["wte"].weight
            self.transformer["wpe"].weight.requires_grad = False
            self.register_buffer("mask", torch.ones(3, 3).tril())

        def forward(self, tokens):
            t = self.transformer
            x = t["wte"](tokens) + t["wpe"](torch.arange(tokens.shape[1]))
            for block in t["h"]:
                x = block(x)
            return self.lm_head(t["ln_f"](x)).float().logsumexp(-1).mean()

    torch.manual_seed(7)
    return Gpt2()


def moments(folder, weights):
    """By DeepSpeed's converter to its universal format, which finds them by another way than its engine."""
    import torch
    tag = (folder / "latest").read_text()
    with tempfile.TemporaryDirectory() as out:
        subprocess.run([sys.executable, "-m", "deepspeed.checkpoint.ds_to_universal", "--input_folder", folder / tag,
                        "--output_folder", out, "--inject_missing_state", "--num_extract_workers", "1",
                        "--num_merge_workers", "1"], check=True, env=os.environ | {"DS_ACCELERATOR": "cpu"})
        result = {}
        for path in sorted(pathlib.Path(out, "zero").glob("*/exp_avg*.pt")):
            value, like = torch.load(path, weights_only=False), weights[path.parent.name]
            value = value["param"] if isinstance(value, dict) else value  # stage 3: flat
            result[f"{path.stem}.{path.parent.name}"] = value.flatten()[:like.numel()].reshape(like.shape)
        return result


def train(case, rank):
    import deepspeed
    import torch
    stage, dtype = CASES[case]
    config = {"train_micro_batch_size_per_gpu": 1, "optimizer": {"type": "AdamW", "params": {"lr": 0.01,
              "torch_adam": True}}, "zero_optimization": {"stage": stage, "sub_group_size": 50}}
    if dtype != "fp32":
        config[dtype] = {"enabled": True}
    model = make_model()
    trainable = [p for p in model.parameters() if p.requires_grad]
    groups = [{"params": [p for p in trainable if p.dim() > 1]},
              {"params": [p for p in trainable if p.dim() == 1], "weight_decay": 0.0}]
    engine, *_ = deepspeed.initialize(model=model, model_parameters=groups, config=config)
    for step in range(2):
        engine.backward(engine(torch.tensor([[1, 2, 3]]) + step + rank))
        engine.step()
    engine.save_checkpoint(str(FOLDER / case))


def write_expected(folder, stage):
    import torch
    from deepspeed.utils.zero_to_fp32 import get_fp32_state_dict_from_zero_checkpoint
    module = {}
    if stage < 3:
        file = folder / (folder / "latest").read_text() / "mp_rank_00_model_states.pt"
        module = torch.load(file, weights_only=False)["module"]
    # zero_to_fp32 knows no stage 0, and drops frozen parameters of fp32 runs at stages 1 and 2.
    weights = module | (get_fp32_state_dict_from_zero_checkpoint(str(folder)) if stage > 0 else {})
    save_safetensors({name: t.float().contiguous() for name, t in (weights | (moments(folder, weights) if stage > 0 else {})).items()},
                     folder / "expected.safetensors")
    (folder / "config.json").write_text(json.dumps(CONFIG) + "\n")


def save_safetensors(tensors, path):
    header, data = {}, b""
    for name, tensor in tensors.items():
        raw = tensor.detach().numpy().tobytes()
        header[name] = {"dtype": "F32", "shape": list(tensor.shape), "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header, separators=(",", ":")).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def main():
    if len(sys.argv) == 3:
        train(sys.argv[1], int(sys.argv[2]))
        sys.stdout.flush()
        os._exit(0)  # DeepSpeed's threads do not always end
    shutil.rmtree(FOLDER, ignore_errors=True)
    for port, case in enumerate(CASES, start=29610):
        environment = os.environ | {"WORLD_SIZE": str(RANKS), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
                                    "DS_ACCELERATOR": "cpu", "OMP_NUM_THREADS": "1"}
        ranks = [subprocess.Popen([sys.executable, __file__, case, str(rank)],
                                  env=environment | {"RANK": str(rank), "LOCAL_RANK": str(rank)})
                 for rank in range(RANKS)]
        if any([rank.wait() for rank in ranks]):
            sys.exit(f"{case} failed")
        write_expected(FOLDER / case, CASES[case][0])
        for script in (FOLDER / case).glob("*.py"):
            script.unlink()


if __name__ == "__main__":
    main()
