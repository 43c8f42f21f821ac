#!/usr/bin/env python3
"""Writes golden/{gpt2,llama}/autocast.safetensors: what PyTorch's own autocast makes of the models there.

Needs torch and transformers (any recent release); run once, results are committed. The run is that of
make_golden.py (its weights, tokens and labels, clipping, AdamW) with forward and loss under
torch.autocast("cpu", dtype): "<dtype>.losses" [20] and "<dtype>.norms" [20] before clipping, for bfloat16 and,
with a GradScaler, float16. Attention is scaled_dot_product_attention.
"""
import pathlib

import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

STEPS = 20
OUT = pathlib.Path(__file__).resolve().parent / "golden"


def train(folder, dtype):
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="sdpa").train()
    run = load_file(folder / "run.safetensors")
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.1)
    scaler = torch.amp.GradScaler("cpu", enabled=dtype == torch.float16)
    losses, norms = [], []
    for step in range(STEPS):
        tokens, labels = (run[name][step % 5] for name in ("tokens", "labels"))
        with torch.autocast("cpu", dtype=dtype):
            logits = model(input_ids=tokens).logits
            loss = torch.nn.functional.cross_entropy(logits.float().flatten(0, 1), labels.flatten(), ignore_index=-100)
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        norms.append(torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0).item())
        losses.append(loss.item())
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad()
    return torch.tensor(losses, dtype=torch.float64), torch.tensor(norms, dtype=torch.float64)


def main():
    torch.set_num_threads(1)
    for name in ("gpt2", "llama"):
        result = {}
        for dtype in (torch.bfloat16, torch.float16):
            key = str(dtype).removeprefix("torch.")
            result[key + ".losses"], result[key + ".norms"] = train(OUT / name, dtype)
            print(name, key, result[key + ".losses"].tolist())
        save_file(result, OUT / name / "autocast.safetensors")
        (OUT / name / "autocast.safetensors").chmod(0o644)


if __name__ == "__main__":
    main()
