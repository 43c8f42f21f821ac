#!/usr/bin/env python3
"""A step of training with each backend alone and with the one that `tuned` chooses for each operation and size, in turns.

  benchmarks/train/backends.py [--ranks 2] [--backends gloo,shm,tuned] [--stage 0] [--micro-batch 1] [--rounds 3]

Prints seconds of a step (median of all rounds, without the first steps of each), and how many times as fast tuned is.
"""
import argparse
import os
import statistics
import tempfile

import measured_run


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    measured_run.add_shape(parser, layers=8, width=512, length=128, steps=8)
    parser.add_argument("--backends", default="gloo,shm,tuned")
    parser.add_argument("--stage", type=int, default=0)
    parser.add_argument("--micro-batch", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    a = parser.parse_args()
    backends = a.backends.split(",")
    seconds = {backend: [] for backend in backends}
    with tempfile.TemporaryDirectory() as cache:
        os.environ["XDG_CACHE_HOME"] = cache
        for backend in backends * a.rounds:
            with tempfile.TemporaryDirectory() as folder:
                run = measured_run.write_run(folder, a, {"train_micro_batch_size_per_gpu": a.micro_batch,
                                                         "zero_optimization": {"stage": a.stage}}, {"threads": 1})
                events, _ = measured_run.train(run, a.ranks, "--comm", backend)
                steps = [event for event in events if event["event"] == "step"]
                seconds[backend] += [step["step_seconds"] for step in steps[2:-1]]
    medians = {backend: statistics.median(values) for backend, values in seconds.items()}
    for backend, median in medians.items():
        print(f"{backend}: step {median:.3f} s; tuned x {median / medians['tuned']:.2f}")


if __name__ == "__main__":
    main()
