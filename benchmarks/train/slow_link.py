#!/usr/bin/env python3
"""Two ranks on two hosts behind a slow cable: the same model and the same tokens a step as a pipeline, with its matrices
shared, and with its data shared. The hosts are network namespaces, the cable a token bucket; needs root and iproute2.

  sudo benchmarks/train/slow_link.py [--mbit 50] [--layers 12] [--width 256] [--sequences 16] [--steps 4]

Prints seconds and tokens a second of a step (median, without the first), what was planned with rates that `plan --tune`
measured on this host right before and the cable's, what a host received in a step, and how many times as fast the pipeline is.
"""
import argparse
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile

import measured_run

sys.path.append(str(pathlib.Path(__file__).resolve().parent.parent))
from two_hosts import TwoHosts  # noqa: E402

HOSTS = [0, 1]


def ways(sequences):
    """Name, mesh and batch of each way to train as many sequences a step."""
    return [("pp 2", {"pp": 2}, {"train_micro_batch_size_per_gpu": 1, "gradient_accumulation_steps": sequences}),
            ("tp 2", {"tp": 2}, {"train_micro_batch_size_per_gpu": sequences}),
            ("dp 2", {}, {"train_micro_batch_size_per_gpu": sequences // 2})]


def model(a):
    """Embedding and head are two matrices: the stages that hold them have no gradient of a common one to exchange."""
    return {"config": {"model_type": "llama", "vocab_size": a.vocab, "hidden_size": a.width,
                       "intermediate_size": 4 * a.width, "num_hidden_layers": a.layers,
                       "num_attention_heads": a.width // 64, "max_position_embeddings": a.length,
                       "tie_word_embeddings": False}}


def planned(run, a):
    """Seconds of a step on two hosts of a rank each."""
    rates = run.with_name("rates.json")
    subprocess.run([measured_run.PROGRAM, "plan", run, "--ranks", "2", "--tune", "--write", rates], check=True,
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    rates.write_text(json.dumps(json.loads(rates.read_text()) | {
        "ranks": 1, "between_bytes_per_second": a.mbit * 1e6 / 8, "between_seconds": 1e-4}))
    done = subprocess.run([measured_run.PROGRAM, "plan", run, "--ranks", "2", "--hosts", "2", "--rates", rates, "--json"],
                          check=True, capture_output=True, text=True)
    return json.loads(done.stdout)["seconds"]["total"]


def measure(hosts, a, mesh, batch):
    with tempfile.TemporaryDirectory() as folder:
        run = measured_run.write_run(folder, a, batch, {"mesh": mesh, "threads": 1, "model": model(a)})
        plan = planned(run, a)
        words = [measured_run.PROGRAM, "train", run, "--json"]
        other = hosts.start(words, 1, HOSTS, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        first = hosts.start(words, 0, HOSTS, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        steps, received = [], []
        for line in first.stdout:
            event = json.loads(line)
            if event["event"] == "step":
                steps.append(event)
                received.append(hosts.received_bytes(0))
        if first.wait() or other.wait():
            raise SystemExit("a rank failed")
    seconds = statistics.median(step["step_seconds"] for step in steps[1:])
    return seconds, plan, (received[-1] - received[0]) / (len(received) - 1), steps[-1]["loss"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    measured_run.add_shape(parser, width=256, length=128, steps=4)
    parser.add_argument("--mbit", type=float, default=50, help="of the cable, each way")
    parser.add_argument("--sequences", type=int, default=16, help="of a step")
    a = parser.parse_args()
    seconds = {}
    with TwoHosts(a.mbit) as hosts:
        for name, mesh, batch in ways(a.sequences):
            seconds[name], plan, received, loss = measure(hosts, a, mesh, batch)
            print(f"{name}: step {seconds[name]:6.2f} s (planned {plan / seconds[name] - 1:+.0%}), {a.sequences * a.length / seconds[name]:6.0f} tokens/s, "
                  f"host 0 receives {received / 1e6:6.1f} MB a step, loss {loss:.5f}", flush=True)
    for name in ("tp 2", "dp 2"):
        print(f"pp 2 against {name}: x {seconds[name] / seconds['pp 2']:.1f}")


if __name__ == "__main__":
    main()
