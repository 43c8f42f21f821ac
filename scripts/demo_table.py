#!/usr/bin/env python3
"""Prints what the demo's two runs predicted and measured, and how good the model is.

With --steps-in SECONDS: how many steps the probe's speed gives in that time.
"""
import json
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent


def events(name, kind):
    lines = (ROOT / "runs" / name).read_text().splitlines()
    return [event for event in map(json.loads, lines) if event["event"] == kind]


def median(values):
    return sorted(values)[len(values) // 2]


def run_settings():
    return json.loads((ROOT / "examples/demo.json").read_text())


def tokens_per_step():
    run = run_settings()
    return run["deepspeed"]["train_batch_size"] * run["data"]["sequence_length"]


def steps_in(seconds):
    speed = median([step["tokens_per_second"] for step in events("demo-probe.jsonl", "step")[20:]])
    return int(seconds * speed / tokens_per_step()) // 50 * 50


def row(*cells):
    print("  {:<34}{:>14}{:>14}{:>9}".format(*cells))


def compare(title, end):
    row(title, "predicted", "measured", "ratio")
    for part in ("memory_bytes", "wire_bytes"):
        for name, predicted in end["predicted"][part].items():
            measured = end["measured"][part].get(name)
            if measured is None:
                continue
            label = name if part == "memory_bytes" else f"{name} on the wire, a step"
            ratio = f"{measured / predicted:.3f}" if predicted else ""
            row(label, f"{predicted / 1e6:.2f} MB", f"{measured / 1e6:.2f} MB", ratio)
    print()


def ngrams(samples):
    command = [ROOT / "build/examples/ngram_baseline", ROOT / "runs/demo", str(samples)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()


def main():
    for ranks in (2, 3):
        compare(f"{ranks} ranks, each", events(f"demo-{ranks}.jsonl", "end")[-1])

    steps = events("demo-2.jsonl", "step") + events("demo-3.jsonl", "step")
    tokens = len(steps) * tokens_per_step()
    held_out = json.loads((ROOT / "runs/demo-eval.json").read_text())
    row("text never seen", "bits a byte", "", "")
    row("this model", f"{held_out['bits_per_byte']:.3f}", "", "")
    for line in ngrams(len(steps) * run_settings()["deepspeed"]["train_batch_size"]):
        name, bits, _ = line.split(" ", 2)
        row(f"{name} of the tokens it has seen", bits, "", "")
    seen = tokens * held_out["bytes"] / held_out["tokens"]
    seconds = sum(step["step_seconds"] for step in steps)
    speed = median([step["tokens_per_second"] for step in steps])
    print(f"\n  {len(steps)} steps in {seconds:.0f} s: {tokens / 1e6:.2f} M tokens ({seen / 1e6:.1f} MB of text),"
          f" {speed:.0f} tokens/s")


if __name__ == "__main__":
    print(steps_in(float(sys.argv[2]))) if sys.argv[1:2] == ["--steps-in"] else main()
