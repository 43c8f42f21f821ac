#!/usr/bin/env python3
"""Peak memory of a run's ranks (PSS, sampled from outside) against what the plan says.

  benchmarks/train/memory_peak.py [--ranks 2] [--stage 3] [--layers 12] [--width 768] [--steps 3]

Prints one line: planned and measured bytes of a rank, their ratio, and the ledger's state bytes.
"""
import argparse
import tempfile

import measured_run


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    measured_run.add_shape(parser)
    parser.add_argument("--stage", type=int, default=3)
    a = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run = measured_run.write_run(folder, a, {"train_micro_batch_size_per_gpu": 1,
                                                 "zero_optimization": {"stage": a.stage}})
        planned = measured_run.plan(run, a.ranks)["memory_bytes"]["peak"]
        events, measured = measured_run.train(run, a.ranks)
    state = {which: events[-1][which]["memory_bytes"]["peak"] for which in ("measured", "predicted")}
    print(f"stage {a.stage}, {a.ranks} ranks: planned peak {planned / 2**20:.0f} MiB, "
          f"measured PSS {measured / 2**20:.0f} MiB, ratio {measured / planned:.3f}; "
          f"state {state['measured'] / 2**20:.0f} MiB of planned {state['predicted'] / 2**20:.0f} MiB")


if __name__ == "__main__":
    main()
