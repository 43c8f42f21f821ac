#!/usr/bin/env python3
"""The largest model for a given memory: trains a GPT-2 shape whose state lies on a disk, in a control group of so many MiB.

  benchmarks/train/largest.py --path /mnt/disk --text corpus.txt --limit-mib 640 [--layers 48] [--width 1600] [--vocab 50257]
      [--length 256] [--steps 2] [--tokenizer tokenizer.json] [--set KEY=VALUE ..]

Parameters, gradients, AdamW's moments (all fp32) and inputs of layers lie in files of DIR, which are gone afterwards; no
checkpoint is written. The limit is the kernel's (cgroup v1, needs root): it counts page cache too, and who exceeds it is
killed. Without one, or with --limit-mib 0, the peak is what it is. Prints a line a step, then the ratio of what Adam keeps in
memory (16 bytes a parameter: parameter, gradient, two moments) to the limit.
"""
import argparse
import contextlib
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile

import measured_run

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from control_group import GROUPS, ControlGroup  # noqa: E402


def write_run(folder, a):
    offload = {"device": "nvme", "nvme_path": a.path, "buffer_count": a.buffers}
    run = {
        "version": 1,
        "model": {"config": {"model_type": "gpt2", "vocab_size": a.vocab, "n_embd": a.width, "n_layer": a.layers,
                             "n_head": a.width // 64, "n_positions": a.length}},
        "data": {"train": [str(pathlib.Path(a.text).resolve())], "sequence_length": a.length},
        "steps": 1000000, "output": f"{folder}/out", "recompute": True, "activation_path": a.path,
        "deepspeed": {"train_micro_batch_size_per_gpu": 1,
                      "optimizer": {"type": "AdamW", "params": {"lr": 3e-4}},
                      "zero_optimization": {"stage": 3, "offload_optimizer": offload, "offload_param": offload}}}
    if a.tokenizer:
        run["tokenizer"] = str(pathlib.Path(a.tokenizer).resolve())
    path = pathlib.Path(folder, "run.json")
    path.write_text(json.dumps(run))
    return path


def steps_of(process, count):
    """The first step events; then the run is interrupted, so that it saves nothing."""
    seen = []
    for line in process.stdout:
        event = json.loads(line)
        if event["event"] == "step" and len(seen) < count:
            seen.append(event)
            memory = ", ".join(f"{name} {size / 2**20:.0f}" for name, size in event["memory_bytes"].items())
            print(f"step {event['step']}: loss {event['loss']:.4f}, {event['step_seconds']:.1f} s; ledger in MiB: {memory}",
                  flush=True)
            if len(seen) == count:
                process.send_signal(signal.SIGINT)
    return seen


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    measured_run.add_shape(parser, layers=48, width=1600, length=256, steps=2)
    parser.set_defaults(vocab=50257)
    parser.add_argument("--path", required=True, help="folder on the disk")
    parser.add_argument("--text", required=True)
    parser.add_argument("--tokenizer", help="of the vocabulary; none: one is trained on the text, in the same memory")
    parser.add_argument("--limit-mib", type=int, default=1024)
    parser.add_argument("--buffers", type=int, default=3, help="pieces in memory at a time")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    a = parser.parse_args()
    limited = a.limit_mib and GROUPS.is_dir()
    with tempfile.TemporaryDirectory() as folder, (
            ControlGroup(a.limit_mib << 20) if limited else contextlib.nullcontext()) as group:
        run = write_run(folder, a)
        settings = [word for setting in a.set for word in ("--set", setting)]
        planned = json.loads(subprocess.run([measured_run.PROGRAM, "plan", run, "--json", *settings],
                                            capture_output=True, text=True).stdout)
        process = subprocess.Popen([measured_run.PROGRAM, "train", run, "--json", *settings], stdout=subprocess.PIPE,
                                   text=True, preexec_fn=group.join if group else None)
        steps = steps_of(process, a.steps)
        _, _, usage = os.wait4(process.pid, 0)
        resident = usage.ru_maxrss * 1024
        peak = group.peak_bytes() if group else resident
    parameters = planned["parameters"]
    print(f"{parameters / 1e6:.0f} M parameters, {16 * parameters / 2**20:.0f} MiB in memory for Adam; planned peak "
          f"{planned['memory_bytes']['peak'] / 2**20:.0f} MiB, resident {resident / 2**20:.0f} MiB, "
          f"control group {peak / 2**20:.0f} MiB" + (f" of {a.limit_mib}" if group else ""))
    if limited:
        peak = a.limit_mib << 20
    print(f"x {16 * parameters / max(peak, resident):.1f}" if len(steps) == a.steps else "ended early")


if __name__ == "__main__":
    main()
