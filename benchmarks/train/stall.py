#!/usr/bin/env python3
"""What the optimizer adds to a step: how much longer it is than its forward and backward alone.

  benchmarks/train/stall.py [--path /mnt/nvme] [--rounds 2] [--ranks 2] [--tokens 2048] [--layers 12] [--width 512]

The same run with states in memory and (with --path) in files, updated after backward or, with super_offload, in the middle of it. Forward and backward alone are what the run in memory reports of them. Losses must be equal to the last bit.
"""
import argparse
import statistics
import tempfile

import measured_run


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    measured_run.add_shape(parser, width=512, length=256, steps=8)
    parser.add_argument("--path", help="folder on the disk")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--tokens", type=int, default=2048, help="of a step, over all ranks")
    parser.add_argument("--stage", type=int, default=2)
    a = parser.parse_args()
    tiers = {"memory": {"device": "none"}}
    if a.path:
        tiers["files"] = {"device": "nvme", "nvme_path": a.path}
    places = {f"{name}{', in backward' if early else ''}": {**tier, "super_offload": early}
              for name, tier in tiers.items() for early in (False, True)}
    seconds, alone, gradients, losses = ({place: [] for place in places} for _ in range(4))
    for _ in range(a.rounds):
        for place, offload in places.items():
            with tempfile.TemporaryDirectory() as folder:
                run = measured_run.write_run(folder, a, {
                    "train_micro_batch_size_per_gpu": a.tokens // a.length // a.ranks, "gradient_clipping": 0,
                    "zero_optimization": {"stage": a.stage, "offload_optimizer": offload}})
                events, _ = measured_run.train(run, a.ranks)
            steps = [event for event in events if event["event"] == "step"]
            for step in steps[2:]:  # the first makes the states
                seconds[place].append(step["step_seconds"])
                alone[place].append(step["phase_seconds"]["forward"] + step["phase_seconds"]["backward"])
            gradients[place].append(events[-1]["measured"]["memory_bytes"]["gradients"])
            losses[place].append([step["loss"] for step in steps])
    compute = statistics.median(alone["memory"])
    for place in places:
        step = statistics.median(seconds[place])
        print(f"{place:20} {step:7.3f} s a step, {max(0, step - compute) / step:6.1%} of it for the optimizer, "
              f"gradients {max(gradients[place]) / 2**20:.0f} MiB a rank")
    equal = all(run == losses["memory"][0] for runs in losses.values() for run in runs)
    print(f"forward and backward alone {compute:.3f} s; losses {'equal' if equal else 'DIFFER'}")


if __name__ == "__main__":
    main()
