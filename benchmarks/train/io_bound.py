#!/usr/bin/env python3
"""A step whose state lies on a disk and whose tokens are few: its traffic against the disk's own rate.

  benchmarks/train/io_bound.py --path /mnt/nvme [--layers 16] [--width 1536] [--length 64] [--steps 7] [--rounds 3]

What a step reads and writes would take read / R + written / W seconds alone, by the best rates R and W of `bench io`
(O_DIRECT), taken before and after each run; that over the time of the step is the share of the disk that is used. A disk
that reads and writes at one time gives more than 100 %.
"""
import argparse
import json
import statistics
import subprocess
import tempfile

import measured_run


def disk_rates(path):
    """Best bytes a second of reading and of writing, past the page cache."""
    done = subprocess.run([measured_run.PROGRAM, "bench", "io", "--path", path, "--json"], check=True, capture_output=True,
                          text=True)
    cases = [case for case in map(json.loads, done.stdout.splitlines()) if case["event"] == "case"]
    return [1e9 * max(case[f"{way}_gb_per_s"] for case in cases) for way in ("read", "write")]


def measure(a):
    """Of the steps that read and write all states: bytes read, bytes written, seconds."""
    place = {"device": "nvme", "nvme_path": a.path}
    with tempfile.TemporaryDirectory() as folder:
        run = measured_run.write_run(folder, a, {
            "train_micro_batch_size_per_gpu": 1, "gradient_clipping": 0,
            "zero_optimization": {"stage": 3, "offload_optimizer": place, "offload_param": place}})
        events, _ = measured_run.train(run, a.ranks)
    # An update ends in the next step. The first two read no states, which are zeros; the last ends beside a checkpoint.
    steps = [event for event in events if event["event"] == "step"][2:-1]
    moved = {way: [sum(n for name, n in step["file_bytes"].items() if name.endswith(way)) for step in steps]
             for way in ("_read", "_written")}
    return (statistics.mean(moved["_read"]), statistics.mean(moved["_written"]),
            statistics.mean(step["step_seconds"] for step in steps))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    measured_run.add_shape(parser, layers=16, width=1536, steps=7)
    parser.add_argument("--path", required=True, help="folder on the disk")
    parser.add_argument("--rounds", type=int, default=3)
    parser.set_defaults(ranks=1, vocab=32768, length=64)
    a = parser.parse_args()
    shares = []
    for _ in range(a.rounds):
        before = disk_rates(a.path)
        read, written, seconds = measure(a)
        rates = [statistics.mean(pair) for pair in zip(before, disk_rates(a.path))]
        alone = read / rates[0] + written / rates[1]
        shares.append(alone / seconds)
        print(f"{read / 1e9:.2f} GB read at {rates[0] / 1e9:.2f} GB/s and {written / 1e9:.2f} GB written at "
              f"{rates[1] / 1e9:.2f} GB/s take {alone:.2f} s; the step {seconds:.2f} s: {shares[-1]:.0%}", flush=True)
    print(f"median {statistics.median(shares):.0%} of the disk's own rate")


if __name__ == "__main__":
    main()
