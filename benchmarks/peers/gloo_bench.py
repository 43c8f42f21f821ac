#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Collectives of `hydrofoil bench comm` against torch.distributed with gloo, on this host.

  .venv/bin/python benchmarks/peers/gloo_bench.py [--ranks 2] [--smallest 8] [--largest 268435456]
      [--rounds 5] [--seconds 0.25] [--program build/hydrofoil] [--json]

Both measure the same way: batches of calls, each batch begun by a barrier and as long as on its slowest
rank. They take turns at each size, round by round, so that what else the machine does meets both; gloo's
processes sleep on a pipe meanwhile. A time is the median over the rounds of the medians of a round. A
ratio is gloo's time by ours in the same round: the median over the rounds, the smallest and the largest.
gloo's buffers are private memory; ours are given for private memory and for memory the ranks share.
Operations that torch does not offer with gloo are n/a.
"""
import argparse
import datetime
import json
import os
import pathlib
import socket
import statistics
import subprocess
import sys
import time

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
OPERATIONS = ["all_reduce", "all_gather", "reduce_scatter"]


def batch(call, calls):
    dist.barrier()
    start = time.perf_counter()
    for _ in range(calls):
        call()
    elapsed = torch.tensor([(time.perf_counter() - start) / calls], dtype=torch.float64)
    dist.all_reduce(elapsed, op=dist.ReduceOp.MAX)  # the slowest rank counts
    return elapsed.item()


def median_us(call, seconds):
    """As comm::bench: about twenty batches of at least 200 us, after a first call."""
    batch(call, 1)
    once = max(batch(call, 3), 1e-8)
    calls = int(min(max(2e-4 / once, 1), 1e5))
    batches = int(min(max(seconds / (once * calls), 5), 200))
    return statistics.median(batch(call, calls) for _ in range(batches)) * 1e6


def operations(rank, ranks, size):
    part = max(1, size // 4 // ranks)
    whole, mine = torch.zeros(part * ranks), torch.zeros(part)
    own = whole[rank * part:(rank + 1) * part]
    scatter = getattr(dist, "reduce_scatter_single", None) or dist.reduce_scatter_tensor
    gather = getattr(dist, "all_gather_single", None) or dist.all_gather_into_tensor
    return part * ranks * 4, {
        "all_reduce": lambda: dist.all_reduce(whole),
        "all_gather": lambda: gather(whole, own),
        "reduce_scatter": lambda: scatter(mine, whole),
    }


def gloo_rank(rank, ranks, port, orders, seconds):
    """Measures each size that comes through the pipe; rank 0 answers {"bytes": .., operation: us or None}."""
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    torch.set_num_threads(1)
    dist.init_process_group("gloo", rank=rank, world_size=ranks)
    for size in iter(orders[rank].recv, None):
        size, calls = operations(rank, ranks, size)
        answer = {"bytes": size}
        for name, call in calls.items():
            try:
                answer[name] = median_us(call, seconds)
            except (RuntimeError, NotImplementedError) as error:  # the same on every rank
                answer[name] = None
                print(f"gloo {name}: {error}".splitlines()[0], file=sys.stderr)
        if rank == 0:
            orders[0].send(answer)
    dist.destroy_process_group()


def ours(args, size):
    """{(operation, memory): us} of one round."""
    lines = subprocess.run(
        [args.program, "bench", "comm", "--json", "--ranks", str(args.ranks), "--seconds", str(args.seconds),
         "--smallest", str(size), "--largest", str(size)],
        check=True, capture_output=True, text=True).stdout.splitlines()
    cases = [case for case in map(json.loads, lines) if case["event"] == "case"]
    return {(case["op"], case["memory"]): case["median_us"] for case in cases}


def sizes(args):
    """Eight times more each, and the largest."""
    size = args.smallest
    while size < args.largest:
        yield size
        size *= 8
    yield args.largest


def compare(rounds, operation):
    """One row: our medians, gloo's, and the ratios with their range over the rounds."""
    row = {"op": operation, "bytes": rounds[0][1]["bytes"], "gloo_us": None}
    for memory in ("private", "shared"):
        row[f"{memory}_us"] = statistics.median(own[operation, memory] for own, _ in rounds)
    if rounds[0][1][operation] is None:
        return row
    row["gloo_us"] = statistics.median(gloo[operation] for _, gloo in rounds)
    for memory in ("private", "shared"):
        ratios = [gloo[operation] / own[operation, memory] for own, gloo in rounds]
        row[f"{memory}_ratio"] = statistics.median(ratios)
        row[f"{memory}_range"] = [min(ratios), max(ratios)]
    return row


def text(row):
    line = f"{row['op']:<14} {row['bytes']:>11} {row['private_us']:>12.2f} {row['shared_us']:>12.2f} "
    if row["gloo_us"] is None:
        return line + f"{'n/a':>12}"
    line += f"{row['gloo_us']:>12.2f}"
    for memory in ("private", "shared"):
        low, high = row[f"{memory}_range"]
        line += f"  {row[f'{memory}_ratio']:>7.2f} [{low:.2f}, {high:.2f}]"
    return line


def host(program):
    with open("/proc/cpuinfo") as info:
        names = [line.split(":", 1)[1].strip() for line in info if line.startswith("model name")]
    version = subprocess.run([program, "--version"], check=True, capture_output=True, text=True).stdout.strip()
    return {"date": datetime.date.today().isoformat(), "cpu": names[0] if names else "unknown",
            "cores": len(os.sched_getaffinity(0)), "ours": version, "peer": f"gloo, torch {torch.__version__}"}


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--smallest", type=int, default=8)
    parser.add_argument("--largest", type=int, default=256 << 20)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.25)
    parser.add_argument("--program", default=str(ROOT / "build" / "hydrofoil"))
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


def main():
    args = arguments()
    facts = host(args.program) | {"ranks": args.ranks, "rounds": args.rounds}
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    pipes = [mp.Pipe() for _ in range(args.ranks)]
    gloo = mp.spawn(gloo_rank, (args.ranks, port, [theirs for _, theirs in pipes], args.seconds), nprocs=args.ranks,
                    join=False)

    def theirs(size):
        for own, _ in pipes:
            own.send(size)
        while not pipes[0][0].poll(1):
            gloo.join(0)  # raises when a rank has failed
        return pipes[0][0].recv()

    if args.json:
        print(json.dumps({"event": "start"} | facts), flush=True)
    else:
        print(", ".join(f"{name}: {value}" for name, value in facts.items()))
        print(f"{'operation':<14} {'bytes':>11} {'private us':>12} {'shared us':>12} {'gloo us':>12}"
              "  gloo/private [range]  gloo/shared [range]", flush=True)
    for size in sizes(args):
        rounds = [(ours(args, size), theirs(size)) for _ in range(args.rounds)]
        for operation in OPERATIONS:
            row = compare(rounds, operation)
            print(json.dumps({"event": "case"} | row) if args.json else text(row), flush=True)
    for own, _ in pipes:
        own.send(None)
    gloo.join()


if __name__ == "__main__":
    main()
