#!/usr/bin/env python3
"""Writes golden/{gpt2,llama}: tiny Hugging Face models, and what PyTorch makes of them.

Needs torch and transformers (any recent release); run once, results are committed. Per model:
  config.json, model.safetensors   an HF folder
  run.safetensors                  tokens, labels [5, 3, 17] (labels shifted, -100 = none), logits of
                                   batch 0 [3, 17, 97], gradients of batch 0 ("grad.NAME", of the mean
                                   loss), losses [50] and gradient norms [50] before clipping, and
                                   "greedy" [17]: the first 5 tokens of row 0, continued
The run: 50 steps, batch = step mod 5, mean loss over labelled tokens, gradients clipped to norm 1.0,
AdamW (lr 1e-3, betas 0.9 0.999, eps 1e-8, weight decay 0.1 on every parameter), fp32.
"""
import pathlib
import sys

import torch
from safetensors.torch import save_file
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

VOCAB, TIME, BATCH, BATCHES, STEPS = 97, 17, 3, 5, 50
OUT = pathlib.Path(__file__).resolve().parent / "golden"


def gpt2():
    return GPT2LMHeadModel(GPT2Config(
        vocab_size=VOCAB, n_positions=23, n_embd=36, n_head=3, n_layer=2, resid_pdrop=0.0, embd_pdrop=0.0,
        attn_pdrop=0.0, bos_token_id=0, eos_token_id=0, attn_implementation="eager"))


def llama():
    return LlamaForCausalLM(LlamaConfig(
        vocab_size=VOCAB, hidden_size=36, intermediate_size=100, num_hidden_layers=2, num_attention_heads=6,
        num_key_value_heads=2, max_position_embeddings=23, rms_norm_eps=1e-6, tie_word_embeddings=False,
        bos_token_id=0, eos_token_id=0, attn_implementation="eager"))


def data():
    """Sequences with structure to learn (an affine walk with noise) and some positions unlabelled."""
    start = torch.randint(VOCAB, (BATCHES, BATCH, 1))
    walk = [start]
    for _ in range(TIME):
        noise = torch.randint(3, (BATCHES, BATCH, 1))
        walk.append((walk[-1] * 5 + 11 + noise) % VOCAB)
    walk = torch.cat(walk, -1)
    labels = walk[..., 1:].clone()
    labels[torch.rand(labels.shape) < 0.15] = -100
    return walk[..., :-1].contiguous(), labels


def mean_loss(model, tokens, labels):
    logits = model(input_ids=tokens).logits
    loss = torch.nn.functional.cross_entropy(logits.view(-1, VOCAB), labels.view(-1), ignore_index=-100)
    return logits, loss


def main():
    torch.set_num_threads(1)
    for name, make in (("gpt2", gpt2), ("llama", llama)):
        torch.manual_seed(7)
        model = make().float().train()
        with torch.no_grad():  # nothing left at 0 or 1: a forgotten bias or norm must show
            for p in model.parameters():
                p.add_(torch.randn_like(p) * 0.08)
        tokens, labels = data()
        folder = OUT / name
        model.save_pretrained(folder)
        (folder / "generation_config.json").unlink(missing_ok=True)
        model.config.eos_token_id = model.generation_config.eos_token_id = None
        greedy = model.generate(tokens[0, :1, :5], max_new_tokens=12, do_sample=False)
        run = {"tokens": tokens, "labels": labels, "greedy": greedy[0]}
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.1)
        losses, norms = [], []
        for step in range(STEPS):
            logits, loss = mean_loss(model, tokens[step % BATCHES], labels[step % BATCHES])
            loss.backward()
            if step == 0:
                run["logits"] = logits.detach().clone()
                for parameter, value in model.named_parameters():
                    run["grad." + parameter] = value.grad.clone()
            norms.append(torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0).item())
            losses.append(loss.item())
            optimizer.step()
            optimizer.zero_grad()
        run["losses"] = torch.tensor(losses, dtype=torch.float64)
        run["norms"] = torch.tensor(norms, dtype=torch.float64)
        save_file(run, folder / "run.safetensors")
        for file in folder.iterdir():
            file.chmod(0o644)
        print(name, "loss", losses[0], "->", losses[-1], "norm", norms[0], "->", norms[-1], file=sys.stderr)


if __name__ == "__main__":
    main()
