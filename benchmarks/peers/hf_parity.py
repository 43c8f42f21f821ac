#!/usr/bin/env python3
"""Same weights, same batch: our forward and backward against Hugging Face's on PyTorch, taking turns.

usage: hf_parity.py build/benchmarks/models/models_step [--threads N] [--rounds N] [--case NAME ...]
Needs torch and transformers. Prints a JSON line per case: loss and gradient norm of both, median
seconds of both, and the median of the per-round ratios (above 1: ours is faster).
"""
import argparse
import json
import pathlib
import statistics
import subprocess
import tempfile
import time

import torch
from safetensors.torch import save_file
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM


def gpt2(vocab, hidden, layers, heads):
    return GPT2LMHeadModel(GPT2Config(
        vocab_size=vocab, n_positions=1024, n_embd=hidden, n_layer=layers, n_head=heads, resid_pdrop=0.0,
        embd_pdrop=0.0, attn_pdrop=0.0, bos_token_id=0, eos_token_id=0, attn_implementation="sdpa"))


def llama(vocab, hidden, layers, heads, kv_heads, inner):
    return LlamaForCausalLM(LlamaConfig(
        vocab_size=vocab, hidden_size=hidden, intermediate_size=inner, num_hidden_layers=layers,
        num_attention_heads=heads, num_key_value_heads=kv_heads, max_position_embeddings=1024,
        tie_word_embeddings=False, bos_token_id=0, eos_token_id=0, attn_implementation="sdpa"))


# name: model, batch, time
CASES = {
    "gpt2_10m": (lambda: gpt2(8192, 320, 6, 5), 8, 256),
    "llama_12m": (lambda: llama(8192, 320, 6, 5, 5, 864), 8, 256),
    "llama_gqa_25m": (lambda: llama(16384, 384, 8, 6, 2, 1024), 4, 512),
    "gpt2_small_vocab50k": (lambda: gpt2(50257, 512, 4, 8), 4, 256),
}


class Ours:
    def __init__(self, binary, folder, batch, threads, *options):
        self.process = subprocess.Popen([binary, folder, batch, str(threads), *options], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True)

    def step(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def close(self):
        self.process.stdin.close()
        self.process.wait()


class HuggingFace:
    def __init__(self, model, batch):
        self.model, self.batch = model, batch

    def step(self):
        start = time.perf_counter()
        logits = self.model(input_ids=self.batch["tokens"]).logits
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), self.batch["labels"].flatten())
        loss.backward()
        seconds = time.perf_counter() - start
        norm = torch.nn.utils.get_total_norm([p.grad for p in self.model.parameters()])
        self.model.zero_grad()
        return {"seconds": seconds, "loss": loss.item(), "grad_norm": norm.item()}


def compare(name, arguments, folder):
    make, size, length = CASES[name]
    torch.manual_seed(1)
    model = make().train()
    walk = torch.randint(model.config.vocab_size, (size, length + 1))
    batch = {"tokens": walk[:, :-1].contiguous(), "labels": walk[:, 1:].contiguous()}
    model.save_pretrained(folder)
    save_file(batch, folder / "batch.safetensors")
    theirs = HuggingFace(model, batch)
    ours = Ours(arguments.binary, folder, folder / "batch.safetensors", arguments.threads)
    rounds = []
    for _ in range(arguments.rounds + 1):
        time.sleep(0.02)  # let the other side's spinning threads go to sleep
        a = ours.step()
        time.sleep(0.02)
        rounds.append((a, theirs.step()))
    ours.close()
    rounds = rounds[1:]
    a, b = rounds[-1]
    return {
        "case": name, "parameters": sum(p.numel() for p in model.parameters()), "tokens": size * length,
        "threads": arguments.threads, "loss": [a["loss"], b["loss"]], "grad_norm": [a["grad_norm"], b["grad_norm"]],
        "median_seconds": [statistics.median(r[i]["seconds"] for r in rounds) for i in (0, 1)],
        "ratio": round(statistics.median(b["seconds"] / a["seconds"] for a, b in rounds), 3),
    }


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("binary")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--case", action="append", choices=sorted(CASES))
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    for name in arguments.case or CASES:
        with tempfile.TemporaryDirectory() as folder:
            print(json.dumps(compare(name, arguments, pathlib.Path(folder))), flush=True)


if __name__ == "__main__":
    main()
