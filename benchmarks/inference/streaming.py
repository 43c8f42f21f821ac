#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Weights larger than memory: layers streamed, against the same runner on mapped weights, in turn.

    benchmarks/inference/streaming.py --bench BUILD/benchmarks/inference/stream_bench --path DIR

Both run in a control group with the cap as its limit (cgroup v1, needs root), which counts the page cache, too: what
is mapped is paged in and out by the kernel. The file of 3.9 GB is written anew for each run.
"""
import argparse
import json
import pathlib
import statistics
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from control_group import ControlGroup  # noqa: E402


def run_capped(command, cap_bytes):
    with ControlGroup(cap_bytes) as group:
        out = subprocess.run(command, check=True, capture_output=True, text=True, preexec_fn=group.join).stdout
        return {**json.loads(out), "group_peak_mb": round(group.peak_bytes() * 1e-6)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bench", type=pathlib.Path, default="build/benchmarks/inference/stream_bench")
    parser.add_argument("--path", type=pathlib.Path, required=True, help="a folder on the disk to stream from")
    parser.add_argument("--cap-mb", type=int, default=1500)
    parser.add_argument("--batch", type=int, nargs="+", default=[64])
    parser.add_argument("--rounds", type=int, default=1, help="of both; a figure is the median")
    parser.add_argument("--steps", type=int, default=3, help="of a run")
    parser.add_argument("--modes", nargs="+", default=["streamed", "mapped"])
    a = parser.parse_args()
    for batch in a.batch:
        rates = {mode: [] for mode in a.modes}
        for _ in range(a.rounds):
            for mode in a.modes:
                run = run_capped([a.bench, a.path, mode, str(a.cap_mb), str(batch), str(a.steps)], a.cap_mb * 10**6)
                print(json.dumps(run), flush=True)
                rates[mode].append(run["tokens_per_second"])
        if len(a.modes) == 2:
            streamed, mapped = (statistics.median(rates[mode]) for mode in ("streamed", "mapped"))
            print(f"batch {batch}: streamed x {streamed / mapped:.2f} of mapped", flush=True)


if __name__ == "__main__":
    main()
