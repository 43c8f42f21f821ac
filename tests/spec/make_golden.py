#!/usr/bin/env python3
"""Makes tests/spec/golden/smollm2_tensors.txt: what the weights of SmolLM2-135M-Instruct are.

usage: make_golden.py MODEL.gguf     (scripts/fetch_model.py; pip install gguf==0.19.0 xxhash)

A line a tensor: Hugging Face's name and XXH3-128 of its fp32 values in Hugging Face's order, dequantised
by the Python package gguf, rows of q and k taken out of rotary pairs by a reshape.

smollm2_ids.json was made with transformers 5.23.0: texts and their ids.
"""
import pathlib
import sys

import gguf
import numpy as np
import xxhash

FOLDER = pathlib.Path(__file__).resolve().parent / "golden"
NAMES = {"attn_norm": "input_layernorm", "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj",
         "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj", "ffn_norm": "post_attention_layernorm",
         "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj"}
OUTSIDE = {"token_embd.weight": "model.embed_tokens.weight", "output_norm.weight": "model.norm.weight"}
HEADS = {"attn_q": 9, "attn_k": 3}


def main():
    lines = []
    for tensor in gguf.GGUFReader(sys.argv[1]).tensors:
        values = gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        name = OUTSIDE.get(tensor.name)
        if not name:
            _, layer, module, _ = tensor.name.split(".")
            name = f"model.layers.{layer}.{NAMES[module]}.weight"
            if module in HEADS:
                rows, columns = values.shape
                values = values.reshape(HEADS[module], rows // HEADS[module] // 2, 2, columns).swapaxes(1, 2)
        lines.append(f"{name} {xxhash.xxh3_128_hexdigest(np.ascontiguousarray(values).tobytes())}\n")
    (FOLDER / "smollm2_tensors.txt").write_text("".join(lines))


if __name__ == "__main__":
    main()
