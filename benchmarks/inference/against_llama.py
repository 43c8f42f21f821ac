#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The runner beside llama.cpp: the same GGUF file, in turn, on the same cores.

    benchmarks/inference/against_llama.py --llama LLAMA_BUILD/bin --threads 2 --rounds 7 model.gguf ..

A round runs benchmarks/inference/runner_bench, then llama-bench and llama-batched-bench; a figure is the
median of the rounds. llama.cpp decodes one sequence at the best of all numbers of threads up to ours (more can
be slower). All cases have 256 tokens behind each sequence; keys and values are in 16 bits on both sides.
"""
import argparse
import json
import pathlib
import platform
import re
import statistics
import subprocess
import time

CASES = ["prefill 512", "decode 1", "decode 8", "decode 32"]


def ours(arguments, model):
    text = subprocess.run([arguments.bench, model, "auto", str(arguments.threads), "5"],
                          check=True, capture_output=True, text=True).stdout
    rates = {f"{name} {count}": float(rate)
             for name, count, rate in re.findall(r"^(prefill|decode) +(\d+) +([\d.]+) tokens/s", text, re.M)}
    rates["read"] = float(re.search(r"^read +([\d.]+) GB/s", text, re.M)[1])
    rates["weights"] = float(re.search(r"^decode +1 .* weights at ([\d.]+) GB/s", text, re.M)[1])
    return rates


def llama(arguments, model):
    threads = arguments.threads

    def bench(*options):
        out = subprocess.run([arguments.llama / "llama-bench", "-m", model, "-r", "2", "-o", "json", *options],
                             check=True, capture_output=True, text=True).stdout
        return max(run["avg_ts"] for run in json.loads(out))

    rates = {"prefill 512": bench("-t", str(threads), "-p", "512", "-n", "0"),
             "decode 1": bench("-t", ",".join(map(str, range(1, threads + 1))), "-p", "0", "-n", "32", "-d", "256")}
    out = subprocess.run([arguments.llama / "llama-batched-bench", "-m", model, "-t", str(threads), "-npp", "256", "-pps",
                          "-ntg", "16", "-npl", "8,32", "-c", "16384", "--output-format", "jsonl"],
                         check=True, capture_output=True, text=True).stdout
    for line in out.splitlines():
        if line.startswith("{"):
            run = json.loads(line)
            rates[f"decode {run['pl']}"] = run["speed_tg"]
    return rates


def processor():
    lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    field = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    return f"{field.get('model name', platform.machine())} (family {field.get('cpu family')}, model {field.get('model')})"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", metavar="MODEL", help="GGUF file")
    parser.add_argument("--llama", type=pathlib.Path, required=True, help="folder of llama-bench")
    parser.add_argument("--bench", default="build/benchmarks/inference/runner_bench")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    print(f"{time.strftime('%Y-%m-%d')}, {processor()}, {arguments.threads} threads, median of {arguments.rounds} rounds")
    for model in arguments.models:
        rounds = [(ours(arguments, model), llama(arguments, model)) for _ in range(arguments.rounds)]

        def median(side, case):
            return statistics.median(both[side][case] for both in rounds)

        print(f"{pathlib.Path(model).name}: read {median(0, 'read'):.1f} GB/s, "
              f"weights of decode 1 at {median(0, 'weights'):.1f} GB/s, "
              f"{100 * statistics.median(a['weights'] / a['read'] for a, _ in rounds):.0f} %")
        for case in CASES:
            ratio = statistics.median(a[case] / b[case] for a, b in rounds)
            print(f"  {case:12} {median(0, case):8.1f} tokens/s, llama.cpp {median(1, case):8.1f}, x {ratio:.2f}")


if __name__ == "__main__":
    main()
