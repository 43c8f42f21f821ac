#!/usr/bin/env python3
"""Peak memory of a rank (PSS, sampled from outside) while it loads a model, against what it must hold.

  benchmarks/checkpoint/load_peak.py [--ranks 2] [--stage 3] [--layers 10] [--width 1024]

Makes a Llama of 0.5 GB (fp32) and loads it from a Hugging Face folder and from a GGUF file, with
runs of no steps. The aim: a rank's slices + 1.2 x the largest unit + what the program itself takes, which is
what the same run takes with a model of a few thousand parameters. Prints one line a format.
"""
import argparse
import array
import json
import pathlib
import struct
import subprocess
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
PROGRAM = ROOT / "build" / "hydrofoil"


def config(layers, width, vocab):
    return {"model_type": "llama", "vocab_size": vocab, "hidden_size": width, "intermediate_size": width * 11 // 4,
            "num_hidden_layers": layers, "num_attention_heads": max(1, width // 64), "num_key_value_heads":
            max(1, width // 64), "max_position_embeddings": 64, "tie_word_embeddings": True}


def tensors(c):
    """(unit, name, shape) in forward order."""
    h, m = c["hidden_size"], c["intermediate_size"]
    yield "embedding", "model.embed_tokens.weight", [c["vocab_size"], h]
    for i in range(c["num_hidden_layers"]):
        for name, shape in (("input_layernorm", [h]), ("self_attn.q_proj", [h, h]), ("self_attn.k_proj", [h, h]),
                            ("self_attn.v_proj", [h, h]), ("self_attn.o_proj", [h, h]), ("post_attention_layernorm", [h]),
                            ("mlp.gate_proj", [m, h]), ("mlp.up_proj", [m, h]), ("mlp.down_proj", [h, m])):
            yield i, f"model.layers.{i}.{name}.weight", shape
    yield "head", "model.norm.weight", [h]


def elements(shape):
    return shape[0] * (shape[1] if len(shape) > 1 else 1)


def write_model(folder, c):
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(c))
    header, at = {}, 0
    for _, name, shape in tensors(c):
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [at, at + 4 * elements(shape)]}
        at += 4 * elements(shape)
    text = json.dumps(header).encode()
    with open(folder / "model.safetensors", "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        block = array.array("f", (i % 997 / 9970 for i in range(1 << 20))).tobytes()
        for begin in range(0, at, len(block)):
            file.write(block[:at - begin])
    units = {}
    for unit, _, shape in tensors(c):
        units[unit] = units.get(unit, 0) + 4 * elements(shape)
    return sum(units.values()), max(units.values())


def pss(pid):
    try:
        for line in pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0


def peak_of(command, ranks):
    run = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    errors = []
    reader = threading.Thread(target=lambda: errors.append(run.stderr.read()))
    reader.start()
    peak = 0
    while run.poll() is None:
        try:
            children = pathlib.Path(f"/proc/{run.pid}/task/{run.pid}/children").read_text().split()
        except OSError:
            break
        for pid in children if ranks > 1 else [run.pid]:
            peak = max(peak, pss(pid))
        time.sleep(0.005)
    reader.join()
    if run.wait():
        raise SystemExit(f"{command}: {errors[0]}")
    return peak


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--ranks", type=int, default=2)
    p.add_argument("--stage", type=int, default=3)
    p.add_argument("--layers", type=int, default=10)
    p.add_argument("--width", type=int, default=1024)
    p.add_argument("--vocab", type=int, default=8192)
    p.add_argument("--folder", default=None, help="where to put 1.6 GB for a while")
    a = p.parse_args()
    with tempfile.TemporaryDirectory(dir=a.folder) as name:
        folder = pathlib.Path(name)
        (folder / "corpus.txt").write_text("".join(f"{i * 7919 % 100003} and " for i in range(20000)))
        deepspeed = folder / "ds.json"
        deepspeed.write_text(json.dumps({"train_micro_batch_size_per_gpu": 1, "zero_optimization": {"stage": a.stage}}))

        def load(model, output):
            return peak_of([PROGRAM, "train", "--model", model, "--data", folder / "corpus.txt", "--deepspeed", deepspeed,
                            "--ranks", str(a.ranks), "--set", "steps=0", "--set", "data.sequence_length=64", "--set",
                            f"output={folder / output}"], a.ranks)

        write_model(folder / "tiny", config(1, 32, a.vocab))
        total, largest = write_model(folder / "model", config(a.layers, a.width, a.vocab))
        subprocess.run([PROGRAM, "convert", folder / "model", folder / "model.gguf"], check=True, stdout=subprocess.DEVNULL)
        program = load(folder / "tiny", "tiny-out")
        slices = total // (a.ranks if a.stage == 3 else 1)
        allowed = slices + 1.2 * largest + program
        for model in ("model", "model.gguf"):
            peak = load(folder / model, model + "-out")
            print(f"{model}: peak PSS {peak / 2**20:.0f} MiB of {allowed / 2**20:.0f} MiB allowed (slices {slices / 2**20:.0f}, "
                  f"largest unit {largest / 2**20:.0f}, program {program / 2**20:.0f}): ratio {peak / allowed:.3f}", flush=True)


if __name__ == "__main__":
    main()
