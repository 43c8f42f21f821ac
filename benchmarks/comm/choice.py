#!/usr/bin/env python3
"""Collectives over each backend alone, and over the one that `tuned` chooses for each operation and size, under mpirun:
on this host, or with one rank on each of two hosts, which are network namespaces (root and iproute2).

  benchmarks/comm/choice.py [--hosts 2] [--rounds 3] [--largest 16MiB]

Backends take turns. For each operation, size and kind of memory: the quickest batch of every backend, and how fast tuned is
against the best of the others (1: as fast). The first round of tuned measures, in a cache folder of its own.
"""
import argparse
import json
import os
import pathlib
import platform
import stat
import statistics
import subprocess
import sys
import tempfile

sys.path.append(str(pathlib.Path(__file__).resolve().parent.parent))
from two_hosts import TwoHosts  # noqa: E402

PROGRAM = pathlib.Path(__file__).resolve().parent.parent.parent / "build" / "hydrofoil"
MPIRUN = ["mpirun", "--allow-run-as-root", "--bind-to", "none", "--oversubscribe", "-n", "2"]


def between(hosts, folder):
    """mpirun on the first host, which starts its helper on the second by a shell in that namespace."""
    agent = pathlib.Path(folder, "agent.sh")
    agent.write_text('#!/bin/bash\nhost=$1; shift\nexec ip netns exec $host unshare -u bash -c "hostname $host; $*"\n')
    agent.chmod(agent.stat().st_mode | stat.S_IEXEC)
    return ["ip", "netns", "exec", hosts.names[0], *MPIRUN, "--mca", "plm_rsh_agent", agent, "--mca",
            "oob_tcp_if_include", hosts.cable, "--mca", "btl_tcp_if_include", hosts.cable, "--mca", "btl", "tcp,self",
            "--host", f"{platform.node()}:1,{hosts.names[1]}:1", "-x", f"MASTER_ADDR={hosts.address(0)}",
            "-x", "XDG_CACHE_HOME"]


def run(prefix, backend, a, cache):
    done = subprocess.run([*map(str, prefix), str(PROGRAM), "bench", "comm", "--comm", backend, "--json", "--smallest", "64",
                           "--largest", a.largest, "--seconds", str(a.seconds)], check=True, capture_output=True,
                          text=True, env=os.environ | {"XDG_CACHE_HOME": cache})
    events = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    return events[0], {(e["op"], e["memory"], e["bytes"]): e["best_us"] for e in events if e["event"] == "case"}


def measure(prefix, backends, a, cache):
    best = {}
    for turn in range(a.rounds):
        for backend in backends:
            start, cases = run(prefix, backend, a, cache)
            if turn == 0 and backend == "tuned":
                print(start["comm"] + "\n" + start["choices"], end="", flush=True)
            for case, microseconds in cases.items():
                row = best.setdefault(case, {})
                row[backend] = min(row.get(backend, microseconds), microseconds)
    ratios = []
    for (op, memory, size), row in sorted(best.items()):
        ratios.append(min(v for k, v in row.items() if k != "tuned") / row["tuned"])
        print(f"{op:14} {memory:7} {size:9} " + " ".join(f"{name} {row[name]:9.1f} us" for name in backends) +
              f"  {ratios[-1]:.3f}")
    print(f"tuned against the best of the others: least {min(ratios):.3f}, median {statistics.median(ratios):.3f}, "
          f"{sum(r >= 0.98 for r in ratios)} of {len(ratios)} at 0.98 or more")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hosts", type=int, choices=(1, 2), default=1)
    parser.add_argument("--mbit", type=float, help="of the cable between two hosts; else as fast as it goes")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=0.1, help="of a case, roughly")
    parser.add_argument("--largest", default="16MiB")
    a = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if a.hosts == 1:
            return measure(MPIRUN, ["shm", "gloo", "mpi", "tuned"], a, folder)
        with TwoHosts(a.mbit) as hosts:
            measure(between(hosts, folder), ["gloo", "mpi", "tuned"], a, folder)


if __name__ == "__main__":
    main()
