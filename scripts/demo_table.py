#!/usr/bin/env python3
"""Prints what the demo's two runs predicted and measured, and how good the model is."""
import json
import pathlib
import subprocess

ROOT = pathlib.Path(__file__).resolve().parent.parent
CORPORA = ROOT / "assets/corpora"


def events(name, kind):
    lines = (ROOT / "runs" / name).read_text().splitlines()
    return [event for event in map(json.loads, lines) if event["event"] == kind]


def row(*cells):
    print("  {:<28}{:>14}{:>14}{:>9}".format(*cells))


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


def ngram(train_bytes):
    texts = [CORPORA / name for name in ("heldout.txt", "kjv.txt", "api_docs.txt")]
    command = [ROOT / "build/examples/ngram_baseline", "3", str(train_bytes), *texts]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[0]


def main():
    for ranks in (2, 3):
        compare(f"{ranks} ranks, each", events(f"demo-{ranks}.jsonl", "end")[-1])

    steps = events("demo-2.jsonl", "step") + events("demo-3.jsonl", "step")
    run = json.loads((ROOT / "examples/demo.json").read_text())
    tokens = len(steps) * run["deepspeed"]["train_batch_size"] * run["data"]["sequence_length"]
    held_out = json.loads((ROOT / "runs/demo-eval.json").read_text())
    seen = int(tokens * held_out["bytes"] / held_out["tokens"])
    row("text never seen", "bits a byte", "", "")
    row("this model", f"{held_out['bits_per_byte']:.3f}", "", "")
    row("4-grams of as much text", ngram(seen), "", "")
    speed = sorted(step["tokens_per_second"] for step in steps)[len(steps) // 2]
    print(f"\n  {len(steps)} steps, {tokens / 1e6:.2f} M tokens ({seen / 1e6:.1f} MB of text), {speed:.0f} tokens/s")


if __name__ == "__main__":
    main()
