#!/usr/bin/env python3
"""Peak memory of a run's ranks (PSS, sampled from outside) against what the plan says.

  benchmarks/train/memory_peak.py [--ranks 2] [--stage 3] [--layers 12] [--width 768] [--steps 3]

Prints one line: planned and measured bytes of a rank, their ratio, and the ledger's state bytes.
"""
import argparse
import json
import pathlib
import subprocess
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent


def pss(pid):
    try:
        for line in pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--ranks", type=int, default=2)
    p.add_argument("--stage", type=int, default=3)
    p.add_argument("--layers", type=int, default=12)
    p.add_argument("--width", type=int, default=768)
    p.add_argument("--vocab", type=int, default=8192)
    p.add_argument("--length", type=int, default=128)
    p.add_argument("--steps", type=int, default=3)
    a = p.parse_args()
    program = ROOT / "build" / "hydrofoil"
    with tempfile.TemporaryDirectory() as folder:
        text = pathlib.Path(folder, "corpus.txt")
        text.write_text("".join(f"{i * 7919 % 100003} and " for i in range(200000)))
        run = pathlib.Path(folder, "run.json")
        run.write_text(json.dumps({
            "version": 1, "model": {"config": {"model_type": "gpt2", "vocab_size": a.vocab, "n_embd": a.width,
                                               "n_layer": a.layers, "n_head": a.width // 64, "n_positions": a.length}},
            "data": {"train": [str(text)], "sequence_length": a.length}, "steps": a.steps, "output": folder + "/out",
            "deepspeed": {"train_micro_batch_size_per_gpu": 1, "zero_optimization": {"stage": a.stage}}}))
        plan = json.loads(subprocess.run([program, "plan", run, "--ranks", str(a.ranks), "--json"], check=True,
                                         capture_output=True, text=True).stdout)
        train = subprocess.Popen([program, "train", run, "--ranks", str(a.ranks), "--json"], stdout=subprocess.PIPE,
                                 stderr=subprocess.DEVNULL, text=True)
        peak = {}

        def sample():
            while train.poll() is None:
                pids = [train.pid]
                if a.ranks > 1:
                    pids = pathlib.Path(f"/proc/{train.pid}/task/{train.pid}/children").read_text().split()
                for pid in pids:
                    peak[pid] = max(peak.get(pid, 0), pss(pid))
                time.sleep(0.02)

        watcher = threading.Thread(target=sample)
        watcher.start()
        out, _ = train.communicate()
        watcher.join()
        end = json.loads(out.strip().splitlines()[-1])
        measured = max(peak.values())
        planned = plan["memory_bytes"]["peak"]
        state = end["measured"]["memory_bytes"]["peak"]
        print(f"stage {a.stage}, {a.ranks} ranks: planned peak {planned / 2**20:.0f} MiB, measured PSS {measured / 2**20:.0f} MiB, "
              f"ratio {measured / planned:.3f}; state {state / 2**20:.0f} MiB of planned "
              f"{end['predicted']['memory_bytes']['peak'] / 2**20:.0f} MiB")


if __name__ == "__main__":
    main()
