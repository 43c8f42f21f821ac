#!/usr/bin/env python3
"""Thirty runs against their plans: peak memory of a rank (PSS, sampled from outside) and time of a step.

  benchmarks/train/plan_accuracy.py --path /mnt/nvme [--only 3,7] [--steps 5]

Each run is planned with rates that `plan --tune` measured right before it. Prints a line a run, then how many keep the
bars: 5 % of memory where the state is 1 GB or more, 15 % of time.
"""
import argparse
import json
import statistics
import subprocess
import tempfile
import types

import measured_run

MEMORY_BAR, TIME_BAR, LARGE = 0.05, 0.15, 10**9
SMALL, LARGER = {"layers": 4, "width": 256}, {"layers": 12, "width": 768}

# shape, ranks, stage, micro-batch, then what is unlike the default
RUNS = [
    (SMALL, 1, 0, 8, {}),
    (SMALL, 2, 1, 8, {}),
    (SMALL, 2, 2, 4, {"accumulation": 3}),
    (SMALL, 3, 3, 4, {}),
    (SMALL, 2, 3, 16, {"recompute": True}),
    (SMALL, 2, 2, 8, {"files": 2}),
    (LARGER, 1, 0, 2, {}),
    (LARGER, 1, 0, 8, {}),
    (LARGER, 1, 0, 8, {"recompute": True}),
    (LARGER, 2, 0, 2, {}),
    (LARGER, 2, 1, 2, {}),
    (LARGER, 2, 2, 4, {}),
    (LARGER, 2, 3, 4, {}),
    (LARGER, 2, 3, 8, {"recompute": True}),
    (LARGER, 3, 3, 2, {}),
    (LARGER, 1, 0, 4, {"bf16": True}),
    (LARGER, 2, 3, 4, {"bf16": True, "accumulation": 2}),
    (LARGER, 1, 2, 8, {"files": 2}),
    (LARGER, 1, 3, 16, {"files": 3}),
    (LARGER, 2, 3, 8, {"files": 3}),
    # Two ranks on every axis, and every schedule of two stages.
    (SMALL, 2, 0, 4, {"accumulation": 4, "mesh": {"tp": 2}}),
    (SMALL, 2, 0, 4, {"accumulation": 4, "mesh": {"tp": 2}, "recompute": True}),
    (SMALL, 2, 1, 4, {"accumulation": 4, "mesh": {"sp": 2}}),
    (SMALL, 2, 3, 4, {"accumulation": 4, "mesh": {"sp": 2}}),
    (SMALL, 2, 0, 4, {"accumulation": 4, "mesh": {"pp": 2}}),
    (SMALL, 2, 0, 4, {"accumulation": 4, "mesh": {"pp": 2}, "recompute": True}),
    (SMALL, 2, 0, 4, {"accumulation": 4, "mesh": {"pp": 2}, "schedule": "gpipe"}),
    (SMALL, 2, 0, 4, {"accumulation": 4, "mesh": {"pp": 2}, "schedule": "interleaved"}),
    (SMALL, 2, 0, 4, {"accumulation": 4, "mesh": {"pp": 2}, "schedule": "zero_bubble"}),
    (SMALL, 2, 1, 4, {"accumulation": 4}),
]


def deepspeed_of(stage, micro_batch, path, *, accumulation=1, bf16=False, files=0, schedule="1f1b"):
    place = {"device": "nvme", "nvme_path": path}
    zero = {"stage": stage}
    if files:
        zero["offload_optimizer"] = place
    if files == 3:
        zero["offload_param"] = place
    return {"train_micro_batch_size_per_gpu": micro_batch, "gradient_accumulation_steps": accumulation,
            "bf16": {"enabled": bf16}, "zero_optimization": zero, "pipeline": {"schedule": schedule}}


def measure(shape, ranks, stage, micro_batch, options, steps, path):
    options = dict(options)
    more = {"recompute": options.pop("recompute", False), "mesh": options.pop("mesh", {})}
    sizes = types.SimpleNamespace(vocab=8192, length=256, steps=steps, **shape)
    with tempfile.TemporaryDirectory() as folder:
        run = measured_run.write_run(folder, sizes, deepspeed_of(stage, micro_batch, path, **options))
        document = json.loads(run.read_text())
        document |= more
        run.write_text(json.dumps(document))
        tuned = subprocess.run([measured_run.PROGRAM, "plan", run, "--ranks", str(ranks), "--tune", "--json"],
                               check=True, capture_output=True, text=True)
        plan = json.loads(tuned.stdout)["plan"]
        events, peak = measured_run.train(run, ranks)
    seconds = [event["step_seconds"] for event in events if event["event"] == "step"]
    # The first steps meet new memory, and files that hold nothing yet.
    return plan, events[-1]["measured"]["memory_bytes"]["peak"], peak, statistics.median(seconds[2:])


def name_of(shape, ranks, stage, micro_batch, options):
    text = f"{shape['layers']} x {shape['width']}, {ranks} ranks, stage {stage}, micro-batch {micro_batch}"
    return text + "".join(f", {key}" if value is True else f", {key} {value}" for key, value in options.items())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--path", required=True, help="folder on the disk")
    parser.add_argument("--only", help="numbers of runs, from 1: 3,7")
    parser.add_argument("--steps", type=int, default=5)
    a = parser.parse_args()
    chosen = [int(n) for n in a.only.split(",")] if a.only else range(1, len(RUNS) + 1)
    kept = {"memory": [], "memory of 1 GB and more": [], "time": []}
    for number in chosen:
        run = RUNS[number - 1]
        plan, state, peak, seconds = measure(*run, a.steps, a.path)
        memory = plan["memory_bytes"]["peak"] / peak - 1
        time = plan["seconds"]["total"] / seconds - 1
        kept["memory"].append(abs(memory) <= MEMORY_BAR)
        if state >= LARGE:
            kept["memory of 1 GB and more"].append(abs(memory) <= MEMORY_BAR)
        kept["time"].append(abs(time) <= TIME_BAR)
        print(f"{number:2} {name_of(*run):60} memory {peak / 2**20:5.0f} MiB, planned {memory:+4.0%}; "
              f"step {seconds:6.3f} s, planned {time:+4.0%} ({plan['bottleneck']})", flush=True)
    for what, within in kept.items():
        print(f"{what}: {sum(within)} of {len(within)} within the bar")


if __name__ == "__main__":
    main()
