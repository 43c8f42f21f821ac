#!/usr/bin/env python3
"""Optimizer steps of PyTorch and DeepSpeed, one JSON line an implementation, to set beside `hydrofoil bench adam`.

  adam_torch.py [--optimizer adamw|lion|adagrad] [--dtype fp32|bf16] [--elements 100000000] [--threads 1]
                [--rounds 15] [fused foreach deepspeed]

--dtype is that of parameters, gradients and states alike. PyTorch has no Lion.
"""
import argparse
import json
import statistics
import time

import torch

BYTES = {"adamw": 28, "lion": 20, "adagrad": 20}  # that a step of fp32 reads and writes, an element


def deepspeed_optimizer(optimizer, params, fp32):
    from deepspeed.ops.adagrad import DeepSpeedCPUAdagrad
    from deepspeed.ops.adam import DeepSpeedCPUAdam
    from deepspeed.ops.lion import DeepSpeedCPULion
    options = dict(lr=1e-6, weight_decay=0.1, fp32_optimizer_states=fp32)
    if optimizer == "adamw":
        return DeepSpeedCPUAdam(params, adamw_mode=True, **options)
    return {"lion": DeepSpeedCPULion, "adagrad": DeepSpeedCPUAdagrad}[optimizer](params, **options)


def make(name, optimizer, params, fp32):
    if name == "deepspeed":
        return deepspeed_optimizer(optimizer, params, fp32)
    kind = {"adamw": torch.optim.AdamW, "adagrad": torch.optim.Adagrad}[optimizer]
    return kind(params, lr=1e-6, weight_decay=0.1, fused=name == "fused", foreach=name == "foreach")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--optimizer", choices=sorted(BYTES), default="adamw")
    parser.add_argument("--dtype", choices=["fp32", "bf16"], default="fp32")
    parser.add_argument("--elements", type=int, default=100_000_000)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("names", nargs="*", help="of fused, foreach, deepspeed; fused when none is given")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    fp32 = args.dtype == "fp32"
    dtype = torch.float32 if fp32 else torch.bfloat16
    bytes_per_element = BYTES[args.optimizer] * (1 if fp32 else 0.5)
    for name in args.names or ["fused"]:
        param = torch.nn.Parameter(torch.full((args.elements,), 0.01, dtype=dtype))
        param.grad = torch.full((args.elements,), 0.01, dtype=dtype)
        step = make(name, args.optimizer, [param], fp32).step
        step()
        seconds = []
        for _ in range(args.rounds):
            began = time.perf_counter()
            step()
            seconds.append(time.perf_counter() - began)
        median = statistics.median(seconds)
        print(json.dumps({
            "benchmark": f"{args.optimizer}, {'torch ' if name != 'deepspeed' else ''}{name}", "dtype": args.dtype,
            "unit": "GB/s", "median": round(bytes_per_element * args.elements / median / 1e9, 3),
            "elements_per_second": round(args.elements / median), "elements": args.elements,
            "threads": args.threads, "torch": torch.__version__}))


if __name__ == "__main__":
    main()
