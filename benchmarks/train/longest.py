#!/usr/bin/env python3
"""The longest sequence that trains under a cap of memory for each rank: plain on one rank, and as long
sequences are meant to be trained, on one rank and cut over several.

  benchmarks/train/longest.py [--cap-mib 600] [--over 1,2,4] [--layers 12] [--width 256]

Doubles the length while a rank's peak (PSS, sampled from outside) stays below the cap, then halves the
step until it is known to an eighth. Prints a line for each way.
"""
import argparse
import copy
import tempfile

import measured_run

LONG = {"recompute": True, "mlp_rows": 1024}


def model(a, length):
    return {"config": {"model_type": "llama", "vocab_size": a.vocab, "hidden_size": a.width,
                       "intermediate_size": 4 * a.width, "num_hidden_layers": a.layers,
                       "num_attention_heads": a.width // 64, "max_position_embeddings": length}}


def peak_mib(a, ranks, length, more):
    shape = copy.copy(a)
    shape.length = length
    with tempfile.TemporaryDirectory() as folder:
        run = measured_run.write_run(folder, shape, {"train_micro_batch_size_per_gpu": 1,
                                                     "zero_optimization": {"stage": 3}},
                                     {"mesh": {"sp": ranks}, "threads": 1, "model": model(a, length), **more})
        return measured_run.train(run, ranks)[1] / 2**20


def longest(a, ranks, more):
    length = a.shortest
    while peak_mib(a, ranks, 2 * length, more) <= a.cap_mib:
        length *= 2
    step = length // 2
    while step >= length // 8:
        if peak_mib(a, ranks, length + step, more) <= a.cap_mib:
            length += step
        step //= 2
    return length


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    measured_run.add_shape(parser, width=256, steps=1)
    parser.add_argument("--cap-mib", type=float, default=600, help="of a rank")
    parser.add_argument("--over", default="1,2,4", help="numbers of ranks that share a sequence")
    parser.add_argument("--shortest", type=int, default=256, help="a length that fits for certain")
    a = parser.parse_args()
    plain = longest(a, 1, {})
    print(f"plain, one rank: {plain} tokens in {a.cap_mib:.0f} MiB", flush=True)
    for ranks in map(int, a.over.split(",")):
        tokens = longest(a, ranks, LONG)
        print(f"recomputed, feed-forward in chunks, sp {ranks}: {tokens} tokens, x {tokens / plain:.1f}", flush=True)


if __name__ == "__main__":
    main()
