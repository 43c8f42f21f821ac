#!/usr/bin/env python3
"""Training steps of a model in PyTorch or DeepSpeed on this CPU: seconds a step and peak memory of the largest rank.

  OMP_NUM_THREADS=1 torchrun --nproc_per_node 2 train_torch.py --engine fsdp2 [--dtype bf16] [--config JSON]
  hydrofoil bench train --against VENV    # runs it in turn with its own steps

Needs torch, transformers and, for its engines, deepspeed (pip install deepspeed --no-build-isolation with DS_BUILD_OPS=0),
DS_ACCELERATOR=cpu in the environment. Rank 0 prints one line of JSON; with --steps 0 a line when it is ready before that, and
one for each step, which a line on standard input asks for. bf16 is autocast over fp32 weights; DeepSpeed's is bf16 weights with fp32
masters, its default. Made-up tokens (of an encoder one in seven is told), AdamW, no dropout, gradients clipped at 1.0.
"""
import argparse
import contextlib
import json
import os
import pathlib
import sys
import tempfile
import threading
import time

import torch
import torch.distributed as dist
import transformers

GPT_S = '{"model_type":"gpt2","vocab_size":8192,"n_positions":256,"n_embd":512,"n_layer":12,"n_head":8}'
DROPOUTS = ["resid_pdrop", "embd_pdrop", "attn_pdrop", "attention_dropout", "hidden_dropout_prob", "attention_probs_dropout_prob"]
ENGINES = ["ddp", "compile", "fsdp2", "deepspeed1", "deepspeed2", "deepspeed3", "deepspeed3-cpu", "deepspeed3-nvme"]


def pss():
    for line in pathlib.Path("/proc/self/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    return 0


def peak_pss(step):
    """The largest PSS seen during a step that is not timed: looking costs a tenth of it."""
    peak, done = pss(), threading.Event()

    def watch():
        nonlocal peak
        while not done.wait(0.05):
            peak = max(peak, pss())

    watcher = threading.Thread(target=watch)
    watcher.start()
    step()
    done.set()
    watcher.join()
    return peak


def make_model(a):
    settings = json.loads(a.config)
    config = transformers.AutoConfig.for_model(settings.pop("model_type"), **settings, use_cache=False)
    for name in DROPOUTS:
        if hasattr(config, name):
            setattr(config, name, 0.0)
    torch.manual_seed(1)
    kind = transformers.AutoModelForMaskedLM if config.model_type == "bert" else transformers.AutoModelForCausalLM
    return kind.from_config(config, attn_implementation="sdpa").train()


def make_batch(a, model):
    tokens = torch.randint(0, model.config.vocab_size, (a.sequences, a.length))
    if model.config.model_type != "bert":
        return {"input_ids": tokens, "labels": tokens}
    return {"input_ids": tokens, "labels": torch.where(torch.arange(a.length) % 7 == 0, tokens, -100)}


def torch_step(a, model):
    """A function of a batch: one step of DDP, FSDP2 or one compiled process."""
    if a.engine == "fsdp2":
        from torch.distributed.fsdp import fully_shard
        layers = next(m for m in model.modules() if isinstance(m, torch.nn.ModuleList))
        for layer in layers:
            fully_shard(layer)
        fully_shard(model)
    elif a.engine == "compile":
        model.compile()
    if a.engine != "fsdp2" and dist.get_world_size() > 1:
        model = torch.nn.parallel.DistributedDataParallel(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    cast = torch.autocast("cpu", torch.bfloat16) if a.dtype == "bf16" else contextlib.nullcontext()

    def step(batch):
        with cast:
            loss = model(**batch).loss
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

    def step(batch):
        loss = engine(**batch).loss
        engine.backward(loss)
        engine.step()
        return loss

    return step


def one_for_each_line():
    """Rank 0 reads lines; all ranks go on while they come."""
    print(json.dumps({"ready": True}), flush=True) if dist.get_rank() == 0 else None
    while True:
        more = torch.tensor([int(dist.get_rank() == 0 and bool(sys.stdin.readline()))])
        dist.broadcast(more, 0)
        if not more.item():
            return
        yield


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", choices=ENGINES, required=True)
    parser.add_argument("--dtype", choices=["fp32", "bf16"], default="fp32")
    parser.add_argument("--path", help="folder on the disk, of deepspeed3-nvme")
    parser.add_argument("--config", default=GPT_S, help="as Hugging Face writes it")
    for name, default in {"length": 256, "sequences": 4, "steps": 6}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    a = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", 1)))
    dist.init_process_group("gloo")
    model = make_model(a)
    batch = make_batch(a, model)
    with tempfile.TemporaryDirectory(dir=a.path) as folder:
        step = deepspeed_step(a, model, folder) if a.engine.startswith("deepspeed") else torch_step(a, model)

        def timed():
            dist.barrier()
            start = time.perf_counter()
            step(batch)
            dist.barrier()
            return time.perf_counter() - start

        timed(), timed()
        seconds = [timed() for _ in range(a.steps)]
        for _ in one_for_each_line() if a.steps == 0 else ():
            taken = timed()
            if dist.get_rank() == 0:
                print(json.dumps({"seconds": taken}), flush=True)
        peak = torch.tensor([float(peak_pss(timed))])
    dist.all_reduce(peak, op=dist.ReduceOp.MAX)
    if dist.get_rank() == 0:
        print(json.dumps({"engine": a.engine, "dtype": a.dtype, "seconds": seconds, "peak_bytes": int(peak.item())}))
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
