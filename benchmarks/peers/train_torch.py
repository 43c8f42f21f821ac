#!/usr/bin/env python3
"""Training steps of a GPT-2 shape in PyTorch or DeepSpeed on this CPU: seconds a step and peak memory of the largest rank.

  OMP_NUM_THREADS=1 torchrun --nproc_per_node 2 train_torch.py --engine fsdp2 [--dtype bf16] [--layers 12] [--width 512]

Needs torch, transformers and, for its engines, deepspeed (pip install deepspeed --no-build-isolation with DS_BUILD_OPS=0),
DS_ACCELERATOR=cpu in the environment. Prints one line of JSON from rank 0. bf16 is autocast over fp32 weights; DeepSpeed's is
bf16 weights with fp32 masters, its default. Made-up tokens, AdamW, no dropout, gradients clipped at 1.0 by every engine.
"""
import argparse
import contextlib
import json
import os
import pathlib
import tempfile
import threading
import time

import torch
import torch.distributed as dist
import transformers

ENGINES = ["ddp", "compile", "fsdp2", "deepspeed1", "deepspeed2", "deepspeed3", "deepspeed3-cpu", "deepspeed3-nvme"]


def pss():
    for line in pathlib.Path("/proc/self/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    return 0


class PeakPss(threading.Thread):
    """The largest PSS seen from outside the interpreter's own work, every 50 ms."""

    def __init__(self):
        super().__init__(daemon=True)
        self.peak = 0

    def run(self):
        while True:
            self.peak = max(self.peak, pss())
            time.sleep(0.05)


def make_model(a):
    config = transformers.GPT2Config(
        vocab_size=a.vocab, n_positions=a.length, n_embd=a.width, n_layer=a.layers, n_head=a.width // 64, resid_pdrop=0.0,
        embd_pdrop=0.0, attn_pdrop=0.0, attn_implementation="sdpa", use_cache=False)
    torch.manual_seed(1)
    return transformers.GPT2LMHeadModel(config)


def torch_step(a, model):
    """A function of a batch: one step of DDP, FSDP2 or one compiled process."""
    if a.engine == "fsdp2":
        from torch.distributed.fsdp import fully_shard
        for block in model.transformer.h:
            fully_shard(block)
        fully_shard(model)
    elif a.engine == "compile":
        model.compile()
    if a.engine != "fsdp2" and dist.get_world_size() > 1:
        model = torch.nn.parallel.DistributedDataParallel(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    cast = torch.autocast("cpu", torch.bfloat16) if a.dtype == "bf16" else contextlib.nullcontext()

    def step(tokens):
        with cast:
            loss = model(input_ids=tokens, labels=tokens).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        return loss

    return step


def deepspeed_step(a, model, folder):
    import deepspeed
    zero = {"stage": int(a.engine[len("deepspeed")])}
    if a.engine.endswith("cpu"):
        zero["offload_optimizer"] = {"device": "cpu"}
    if a.engine.endswith("nvme"):
        zero["offload_optimizer"] = zero["offload_param"] = {"device": "nvme", "nvme_path": folder}
    config = {"train_micro_batch_size_per_gpu": a.sequences, "gradient_clipping": 1.0, "zero_optimization": zero,
              "optimizer": {"type": "AdamW", "params": {"lr": 1e-4}}, "bf16": {"enabled": a.dtype == "bf16"},
              "steps_per_print": 10**9}
    engine, *_ = deepspeed.initialize(model=model, model_parameters=model.parameters(), config=config)

    def step(tokens):
        loss = engine(input_ids=tokens, labels=tokens).loss
        engine.backward(loss)
        engine.step()
        return loss

    return step


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", choices=ENGINES, required=True)
    parser.add_argument("--dtype", choices=["fp32", "bf16"], default="fp32")
    parser.add_argument("--path", help="folder on the disk, of deepspeed3-nvme")
    for name, default in {"layers": 12, "width": 512, "vocab": 8192, "length": 256, "sequences": 4, "steps": 6}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    a = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", 1)))
    watch = PeakPss()
    watch.start()
    dist.init_process_group("gloo")
    model = make_model(a)
    with tempfile.TemporaryDirectory(dir=a.path) as folder:
        step = deepspeed_step(a, model, folder) if a.engine.startswith("deepspeed") else torch_step(a, model)
        tokens = torch.randint(0, a.vocab, (a.sequences, a.length))
        seconds = []
        for _ in range(2 + a.steps):
            dist.barrier()
            start = time.perf_counter()
            step(tokens)
            dist.barrier()
            seconds.append(time.perf_counter() - start)
    peak = torch.tensor([float(watch.peak)])
    dist.all_reduce(peak, op=dist.ReduceOp.MAX)
    if dist.get_rank() == 0:
        print(json.dumps({"engine": a.engine, "dtype": a.dtype, "seconds": seconds[2:], "peak_bytes": int(peak.item())}))
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
