#!/usr/bin/env python3
"""AdamW steps of PyTorch, one JSON line an implementation, to set beside build/benchmarks/kernels/adam_bench.

  adam_torch.py [--elements 100000000] [--threads 1] [--rounds 15] [fused foreach deepspeed]
"""
import argparse
import json
import statistics
import time

import torch


def optimizer(name, params):
    options = dict(lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.1)
    if name == "deepspeed":
        from deepspeed.ops.adam import DeepSpeedCPUAdam
        return DeepSpeedCPUAdam(params, adamw_mode=True, **options)
    return torch.optim.AdamW(params, fused=name == "fused", foreach=name == "foreach", **options)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--elements", type=int, default=100_000_000)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("names", nargs="*", help="of fused, foreach, deepspeed; fused when none is given")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    for name in args.names or ["fused"]:
        param = torch.nn.Parameter(torch.full((args.elements,), 0.01))
        param.grad = torch.full((args.elements,), 0.001)
        step = optimizer(name, [param]).step
        step()
        seconds = []
        for _ in range(args.rounds):
            began = time.perf_counter()
            step()
            seconds.append(time.perf_counter() - began)
        median = statistics.median(seconds)
        print(json.dumps({
            "benchmark": f"adamw, {'torch ' if name != 'deepspeed' else ''}{name}", "unit": "GB/s",
            "median": round(28 * args.elements / median / 1e9, 3),
            "elements_per_second": round(args.elements / median), "elements": args.elements,
            "threads": args.threads, "torch": torch.__version__}))


if __name__ == "__main__":
    main()
