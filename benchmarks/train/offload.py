#!/usr/bin/env python3
"""The same run with its state in memory and in files, in turns: time of a step, peak memory, losses.

  benchmarks/train/offload.py --path /mnt/nvme [--rounds 3] [--micro-batch 4] [--ranks 1] [--layers 12] [--width 512]
  benchmarks/train/offload.py --path /mnt/nvme --stage 3 --ranks 1 --layers 16 --width 1536 --vocab 32768 --length 512 \\
      --micro-batch 8 --recompute --in-backward --limit-mib 1907 --rounds 1 --steps 4     # 504 M parameters under 2 GB

At stage 2 optimizer states and gradients lie in files, at stage 3 parameters too. With a limit the run in files is in a
control group that has no more memory. Prints a line a run, then the ratio of the medians. Losses must be equal to the last
bit.
"""
import argparse
import contextlib
import pathlib
import statistics
import sys
import tempfile

import measured_run

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from control_group import ControlGroup  # noqa: E402


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    measured_run.add_shape(parser, width=512, length=256, steps=6)
    parser.add_argument("--path", required=True, help="folder on the disk")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--micro-batch", type=int, default=4)
    parser.add_argument("--stage", type=int, default=2)
    parser.add_argument("--recompute", action="store_true")
    parser.add_argument("--in-backward", action="store_true", help="update each unit in the middle of backward, in both")
    parser.add_argument("--limit-mib", type=int, default=0)
    parser.add_argument("--only", choices=["memory", "file"], help="one of the two")
    a = parser.parse_args()
    places = {"memory": {"device": "none"}, "file": {"device": "nvme", "nvme_path": a.path}}
    if a.only:
        places = {a.only: places[a.only]}
    seconds, peaks, losses = ({place: [] for place in places} for _ in range(3))
    for _ in range(a.rounds):
        for place, offload in places.items():
            limited = a.limit_mib and place == "file"
            with tempfile.TemporaryDirectory() as folder, (
                    ControlGroup(a.limit_mib << 20) if limited else contextlib.nullcontext()) as group:
                run = measured_run.write_run(folder, a, {
                    "train_micro_batch_size_per_gpu": a.micro_batch, "gradient_clipping": 0,
                    "zero_optimization": {"stage": a.stage,
                                          "offload_optimizer": {**offload, "super_offload": a.in_backward},
                                          "offload_param": offload if a.stage == 3 else {"device": "none"}}},
                    {"recompute": a.recompute})
                events, peak = measured_run.train(run, a.ranks, group=group)
                if limited:
                    peak = max(peak, group.peak_bytes())
            steps = [event for event in events if event["event"] == "step"]
            timed = steps[2:]  # the first reads no file
            seconds[place] += [step["step_seconds"] for step in timed]
            peaks[place].append(peak)
            losses[place].append([step["loss"] for step in steps])
            phases = ", ".join(f"{name} {statistics.median(step['phase_seconds'][name] for step in timed):.2f}"
                               for name in steps[-1]["phase_seconds"])
            print(f"{place:7} {statistics.median(step['step_seconds'] for step in timed):7.3f} s a step ({phases}), "
                  f"peak {peak / 2**20:.0f} MiB a rank", flush=True)
    if a.only:
        return
    ratio = statistics.median(seconds["file"]) / statistics.median(seconds["memory"])
    equal = all(run == losses["memory"][0] for runs in losses.values() for run in runs)
    print(f"file / memory: time x {ratio:.3f}, peak x {max(peaks['file']) / max(peaks['memory']):.3f}; "
          f"losses {'equal' if equal else 'DIFFER'}")


if __name__ == "__main__":
    main()
