#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""torch.distributed with gloo: the same operations and sizes as benchmarks/comm/comm_bench.cpp.

  python gloo_bench.py [--ranks 2] [--from BYTES] [--to BYTES] [--seconds 0.25] [--json]
"""
import argparse
import json
import os
import socket
import time

import torch
import torch.distributed as dist
import torch.multiprocessing as mp


def batch(call, calls):
    dist.barrier()
    start = time.perf_counter()
    for _ in range(calls):
        call()
    elapsed = torch.tensor([(time.perf_counter() - start) / calls], dtype=torch.float64)
    dist.all_reduce(elapsed, op=dist.ReduceOp.MAX)  # the slowest rank counts
    return elapsed.item()


def sample(call, seconds):
    batch(call, 1)
    once = max(batch(call, 3), 1e-8)
    calls = int(min(max(2e-4 / once, 1), 1e5))
    batches = int(min(max(seconds / (once * calls), 5), 200))
    return sorted(batch(call, calls) for _ in range(batches))


def measure(rank, args, port):
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    torch.set_num_threads(1)
    dist.init_process_group("gloo", rank=rank, world_size=args.ranks)
    factor = (args.ranks - 1) / args.ranks
    size = args.smallest
    while size <= args.largest:
        part = max(1, size // 4 // args.ranks)
        whole, mine = torch.zeros(part * args.ranks), torch.zeros(part)
        own = whole[rank * part:(rank + 1) * part]
        cases = {
            "reduce_scatter": (factor, lambda: dist.reduce_scatter_single(mine, whole)
                               if hasattr(dist, "reduce_scatter_single") else dist.reduce_scatter_tensor(mine, whole)),
            "all_gather": (factor, lambda: dist.all_gather_into_tensor(whole, own)),
            "all_reduce": (2 * factor, lambda: dist.all_reduce(whole)),
        }
        for op, (volume, call) in cases.items():
            times = sample(call, args.seconds)
            median = times[len(times) // 2]
            result = {"op": op, "ranks": args.ranks, "bytes": part * args.ranks * 4, "median_us": median * 1e6,
                      "bus_gb_per_s": volume * part * args.ranks * 4 / median / 1e9, "library": f"gloo, torch {torch.__version__}"}
            if rank == 0:
                print(json.dumps(result) if args.json else
                      f"{op:<14} {result['bytes']:>11} {result['median_us']:>12.2f} us {result['bus_gb_per_s']:>8.3f} GB/s", flush=True)
        size *= 8
    dist.destroy_process_group()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--from", dest="smallest", type=int, default=8)
    parser.add_argument("--to", dest="largest", type=int, default=256 << 20)
    parser.add_argument("--seconds", type=float, default=0.25)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    mp.spawn(measure, (args, port), nprocs=args.ranks)


if __name__ == "__main__":
    main()
