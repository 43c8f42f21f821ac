#!/usr/bin/env python3
"""Writes golden/families.json and golden/encoders.json: random tiny models of every family, and what transformers makes of them.

Needs torch and transformers; run once, the result is committed. usage: make_families.py [--list] [FAMILY ..]
Weights are not stored: both sides make them from the parameter's name (value() here, made.cpp there).
Per case: config (as save_pretrained writes it), tokens and labels [B][T] (labels shifted, -100 = none), the summed loss,
logits of the last position of each row, greedy continuation of the first 5 tokens of row 0, and for each parameter's
gradient [norm, two sums with random signs]. Encoders: also token_types [B][T] and lengths [B], labels [B][1] and logits of
the classes, or labels [B][T] and logits of each row's first position. All computed in fp64 from fp32 weights and angles, with
eager attention (but Falcon, whose eager path adds ALiBi twice). fp32_distance: how far the same model in fp32 is from that with its
products' sums in one of ORDERS orders: the largest difference of a gradient's three numbers over max(its norm, the largest norm / 100).
"""
import argparse
import contextlib
import json
import pathlib
import random
import sys
from unittest import mock

import numpy as np
import torch
import transformers

OUT = pathlib.Path(__file__).resolve().parent / "golden"
VOCAB, TIME, BATCH, CASES, ORDERS = 31, 13, 2, 3, 33


def fnv1a(name):
    value = 0xCBF29CE484222325
    for byte in name.encode():
        value = (value ^ byte) * 0x100000001B3 % 2**64
    return value


def mix(seed, count):
    """splitmix64 of seed + i, its upper 24 bits."""
    with np.errstate(over="ignore"):
        z = np.uint64(seed) + np.arange(count, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return ((z ^ (z >> np.uint64(31))) >> np.uint64(40)).astype(np.float32)


def value(name, shape):
    """Exact in fp32: multiples of 2^-25 in [-1/4, 1/4)."""
    flat = mix(fnv1a(name), int(np.prod(shape))) * np.float32(2.0**-25) - np.float32(0.25)
    return torch.from_numpy(flat.reshape(shape))


def signs(name, which, count):
    return np.where(mix(fnv1a(f"{name} {which}"), count) < 2.0**23, -1.0, 1.0)


def heads(rng, kv=True):
    """heads, kv_heads, an even head_dim"""
    groups = rng.choice([1, 2, 3]) if kv else 1
    kv_heads = rng.choice([1, 2, 3])
    return kv_heads * groups, kv_heads, rng.choice([4, 6, 8])


def base(rng, kv=True):
    h, k, d = heads(rng, kv)
    return dict(vocab_size=VOCAB, hidden_size=h * d, intermediate_size=rng.choice([18, 22, 30]),
                num_hidden_layers=rng.choice([2, 3]), num_attention_heads=h, num_key_value_heads=k,
                max_position_embeddings=rng.choice([20, 24]), initializer_range=0.02,
                tie_word_embeddings=rng.random() < 0.3), d


def rope(rng, max_positions, kinds=("default", "default", "linear", "dynamic", "llama3", "yarn"), partial=None):
    kind = rng.choice(kinds)
    if partial == 0.25 and kind == "dynamic":  # its formula divides by zero where two dimensions turn
        kind = "linear"
    result = dict(rope_type=kind, rope_theta=rng.choice([10000.0, 500.0]))
    if partial is not None:
        result["partial_rotary_factor"] = partial
    if kind != "default":
        result["factor"] = rng.choice([2.0, 3.5])
    if kind in ("llama3", "yarn"):
        result["original_max_position_embeddings"] = max_positions // 2
    if kind == "llama3":
        result.update(low_freq_factor=1.0, high_freq_factor=4.0)
    if kind == "yarn" and rng.random() < 0.5:
        result.update(beta_fast=8.0, beta_slow=0.5, attention_factor=1.25)
    return result


def llama(rng, i):
    c, d = base(rng)
    c.update(head_dim=d + 2, attention_bias=rng.random() < 0.5, mlp_bias=rng.random() < 0.5)
    return dict(c, rope_parameters=rope(rng, 20, [("linear", "dynamic", "llama3", "yarn")[i % 4]]))


def mistral(rng, i):
    c, d = base(rng)
    return dict(c, head_dim=d, sliding_window=(5, None, 2)[i % 3], rope_parameters=rope(rng, 20))


def qwen2(rng, i):
    c, d = base(rng)
    return dict(c, use_sliding_window=i != 0, sliding_window=4, max_window_layers=1, rope_parameters=rope(rng, 20))


def qwen3(rng, i):
    c, d = base(rng)
    return dict(c, head_dim=d + 2 * i, attention_bias=i == 1, use_sliding_window=i == 2, sliding_window=3,
                max_window_layers=1, rope_parameters=rope(rng, 20))


def gemma(rng, i):
    c, d = base(rng)
    return dict(c, head_dim=d + 2 * i, attention_bias=i == 1, tie_word_embeddings=True, pad_token_id=None)


def gemma2(rng, i):
    c, d = base(rng)
    caps = [(50.0, 30.0), (2.0, None), (None, 1.5)][i % 3]
    return dict(c, head_dim=d + 2 * i, query_pre_attn_scalar=rng.choice([7, 16]), sliding_window=5, tie_word_embeddings=True,
                attn_logit_softcapping=caps[0], final_logit_softcapping=caps[1], pad_token_id=None)


def gemma3(rng, i):
    c, d = base(rng)
    full = dict(rope_type="linear", factor=2.0, rope_theta=500.0) if i % 2 else dict(rope_type="default", rope_theta=500.0)
    kinds = ["sliding_attention", "full_attention", "sliding_attention"]
    scalar = rng.choice([7, 16]) if i < CASES else 400  # of the last, softmax is far from one-hot and fp32 near fp64
    return dict(c, head_dim=d + 2 * i, query_pre_attn_scalar=scalar, sliding_window=5, tie_word_embeddings=True,
                layer_types=kinds[:c["num_hidden_layers"]], pad_token_id=None,
                rope_parameters={"full_attention": full, "sliding_attention": dict(rope_type="default", rope_theta=30.0)})


def phi(rng, i):
    c, d = base(rng)
    return dict(c, hidden_size=c["num_attention_heads"] * 8, tie_word_embeddings=False,
                rope_parameters=rope(rng, 20, partial=(0.5, 0.25, 1.0)[i % 3]))


def phi3(rng, i):
    c, d = base(rng)
    return dict(c, hidden_size=c["num_attention_heads"] * 8, sliding_window=(None, 4, None)[i % 3], pad_token_id=None,
                rope_parameters=rope(rng, 20, ["default"], partial=(1.0, 0.5, 0.75)[i % 3]))


def gptj(rng, i):
    h = rng.choice([2, 3])
    return dict(vocab_size=VOCAB, n_positions=21, n_embd=h * 8, n_layer=2, n_head=h, rotary_dim=(4, 2, 8)[i % 3],
                n_inner=(None, 18, 26)[i % 3], tie_word_embeddings=False)


def gpt_neox(rng, i):
    c, d = base(rng, kv=False)
    del c["num_key_value_heads"]
    return dict(c, hidden_size=c["num_attention_heads"] * 8, use_parallel_residual=i != 1, attention_bias=i != 2,
                rope_parameters=rope(rng, 20, partial=(0.25, 0.5, 1.0)[i % 3]))


def stablelm(rng, i):
    c, d = base(rng)
    return dict(c, hidden_size=c["num_attention_heads"] * 8, use_parallel_residual=i == 1, use_qkv_bias=i != 0,
                rope_parameters=rope(rng, 20, partial=(0.25, 0.5, 1.0)[i % 3]))


def starcoder2(rng, i):
    c, d = base(rng)
    return dict(c, use_bias=i != 1, sliding_window=(None, 6, 3)[i % 3], rope_parameters=rope(rng, 20))


def opt(rng, i):
    h = rng.choice([2, 3])
    return dict(vocab_size=VOCAB, hidden_size=h * 6, ffn_dim=22, num_hidden_layers=2, num_attention_heads=h,
                max_position_embeddings=20, do_layer_norm_before=i != 1, word_embed_proj_dim=(h * 6, 10, 14)[i % 3],
                enable_bias=i != 2, dropout=0.0, tie_word_embeddings=i != 2, pad_token_id=None)


def bloom(rng, i):
    h = (3, 4, 5)[i % 3]
    return dict(vocab_size=VOCAB, hidden_size=h * 4, n_layer=2, n_head=h, tie_word_embeddings=i != 1)


def falcon(rng, i):
    """multi-query, parallel; new decoder; ALiBi, sequential, separate heads; one norm in the new decoder"""
    h = (3, 6, 3, 4)[i % 4]
    c = dict(vocab_size=VOCAB, hidden_size=h * 6, num_hidden_layers=2, num_attention_heads=h, max_position_embeddings=20,
             bias=i % 2 == 1, tie_word_embeddings=i != 1, ffn_hidden_size=(None, 26, None, 20)[i % 4])
    if i % 4 == 1:
        c.update(new_decoder_architecture=True, num_kv_heads=2)
    if i % 4 == 2:
        c.update(alibi=True, multi_query=False, parallel_attn=False)
    if i % 4 == 3:
        c.update(new_decoder_architecture=True, num_kv_heads=2, num_ln_in_parallel_attn=1)
    return c


def glm(rng, i):
    c, d = base(rng)
    return dict(c, head_dim=8, attention_bias=i != 1, pad_token_id=None,
                rope_parameters=rope(rng, 20, partial=(0.5, 0.25, 1.0)[i % 3]))


MODELS = {"llama": (llama, "Llama"), "mistral": (mistral, "Mistral"), "qwen2": (qwen2, "Qwen2"), "qwen3": (qwen3, "Qwen3"),
          "gemma": (gemma, "Gemma"), "gemma2": (gemma2, "Gemma2"),
          "gemma3_text": (gemma3, "Gemma3Text"), "phi": (phi, "Phi"), "phi3": (phi3, "Phi3"),
          "gptj": (gptj, "GPTJ"), "gpt_neox": (gpt_neox, "GPTNeoX"), "stablelm": (stablelm, "StableLm"),
          "starcoder2": (starcoder2, "Starcoder2"), "opt": (opt, "OPT"), "bloom": (bloom, "Bloom"),
          "falcon": (falcon, "Falcon"), "glm": (glm, "Glm"), "glm4": (glm, "Glm4")}



def encoder(rng, i):
    h = rng.choice([2, 3])
    c = dict(vocab_size=VOCAB, hidden_size=h * 6, intermediate_size=22, num_hidden_layers=2, num_attention_heads=h,
             max_position_embeddings=20, type_vocab_size=rng.choice([2, 3]))
    return dict(c, num_labels=(2, 3, 2)[i % 3]) if i % 2 else dict(c, hidden_act=("gelu", "gelu", "gelu_new")[i % 3])


ENCODERS = {"bert": ("Bert", "cls.predictions"), "roberta": ("Roberta", "lm_head")}


def make_weights(named):
    with torch.no_grad():
        for parameter, tensor in named.items():
            around = 1.0 if tensor.dim() == 1 and parameter.endswith("weight") else 0.0
            tensor.copy_(value(parameter, tuple(tensor.shape)) + around)


@contextlib.contextmanager
def in_double(model):
    """The model computes in fp64, also where its code says fp32. Its weights and tables keep their fp32 values."""
    model.double()
    with mock.patch.multiple(torch, float32=torch.float64, float=torch.float64), \
            mock.patch.object(torch.Tensor, "float", torch.Tensor.double):
        yield


def in_order(which):
    """Products of layers add up in an order of chance, in two halves; 0: as they do."""
    linear = torch.nn.functional.linear
    def shuffled(x, weight, bias=None):
        order = torch.randperm(weight.shape[1], generator=torch.Generator().manual_seed(which))
        first, second = order.chunk(2)
        return linear(x[..., first], weight[:, first], bias) + linear(x[..., second], weight[:, second])
    return mock.patch.object(torch.nn.functional, "linear", shuffled if which else linear)


def take_gradients(named):
    result = {}
    for parameter, tensor in ((k, v) for k, v in named.items() if v.grad is not None):
        g = tensor.grad.double().numpy().ravel()
        result[parameter] = [float(np.linalg.norm(g)), *(float(signs(parameter, k, g.size) @ g) for k in (0, 1))]
        tensor.grad = None
    return result


def distance(got, want):
    least = max(numbers[0] for numbers in want.values()) / 100
    return max(abs(a - b) / max(want[name][0], least) for name in want for a, b in zip(got[name], want[name]))


def run(model, named, labels, **inputs):
    """Logits; and their loss, its gradients and the distance as they are stored."""
    def once():
        logits = model(**inputs).logits
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, -2), labels.flatten(), ignore_index=-100, reduction="sum")
        loss.backward()
        return logits, loss.item(), take_gradients(named)

    fp32 = []
    for which in range(ORDERS):
        with in_order(which):
            fp32.append(once()[2])
    with in_double(model):
        logits, loss, gradients = once()
    furthest = max(distance(g, gradients) for g in fp32)
    return logits, {"loss": rounded(loss), "fp32_distance": float(f"{furthest:.2g}"),
                    "gradients": rounded_values(gradients)}


def encoder_case(name, index):
    """Every second one has classes, the others a head for masked tokens. Padded rows hold the padding token."""
    stem, head = ENCODERS[name]
    rng = random.Random(f"{name} {index}")
    classes = index % 2 == 1
    settings = encoder(rng, index)
    if name == "roberta":
        settings.pop("hidden_act", None)
    pad = 0 if name == "bert" else (1, 1, 3, 0)[index % 4]
    config = getattr(transformers, stem + "Config")(**settings, pad_token_id=pad, bos_token_id=None, eos_token_id=None)
    config._attn_implementation = "eager"
    kind = "ForSequenceClassification" if classes else "ForMaskedLM"
    model = getattr(transformers, stem + kind)(config).float().eval()
    config.architectures = [stem + kind]
    # The bias of the last product is saved under the head's own name.
    named = {k.replace(head + ".decoder.bias", head + ".bias"): v for k, v in model.named_parameters()}
    make_weights(named)
    lengths = [TIME, TIME - 4]
    tokens = torch.full((BATCH, TIME), pad)
    labels = torch.full((BATCH, 1), 0) if classes else torch.full((BATCH, TIME), -100)
    types = torch.tensor([[rng.randrange(settings["type_vocab_size"]) for _ in range(TIME)] for _ in range(BATCH)])
    for row, length in enumerate(lengths):
        for i in range(length):
            tokens[row, i] = rng.randrange(4, VOCAB)
            if not classes and rng.random() < 0.4:
                labels[row, i] = rng.randrange(VOCAB)
        if classes:
            labels[row, 0] = rng.randrange(config.num_labels)
    mask = torch.arange(TIME)[None] < torch.tensor(lengths)[:, None]
    logits, stored = run(model, named, labels, input_ids=tokens, attention_mask=mask.long(), token_type_ids=types)
    return {"family": name, "config": saved(config), "tokens": tokens.tolist(), "labels": labels.tolist(),
            "token_types": types.tolist(), "lengths": lengths,
            "logits": rounded_rows(logits if classes else logits[:, 0]),
            "embeddings": rounded_rows(embeddings(model, tokens, mask)), **stored}


# Means of the last hidden states, of length 1, as sentence-transformers makes them; of token type 0.
def embeddings(model, tokens, mask):
    with torch.no_grad(), in_double(model):
        hidden = model.base_model(input_ids=tokens, attention_mask=mask.long()).last_hidden_state
        mean = (hidden * mask[:, :, None]).sum(1) / mask.sum(1, keepdim=True)
        return torch.nn.functional.normalize(mean)


def rounded(x):
    return float(f"{x:.8g}")


def rounded_rows(tensor):
    return [[rounded(x) for x in row] for row in tensor.tolist()]


def rounded_values(gradients):
    return {k: [rounded(x) for x in v] for k, v in gradients.items()}


def saved(config):
    diff = json.loads(config.to_json_string(use_diff=True))
    diff.pop("transformers_version", None)
    return diff


# Names in files where the module's own differ.
SAVED_AS = {("gpt_neox", "lm_head.weight"): "embed_out.weight"}


def build(name, index):
    make, stem = MODELS[name]
    rng = random.Random(f"{name} {index}")
    config = getattr(transformers, stem + "Config")(**make(rng, index), bos_token_id=None, eos_token_id=None)
    config._attn_implementation = "sdpa" if name == "falcon" else "eager"
    model = getattr(transformers, stem.removesuffix("Text") + "ForCausalLM")(config).float().eval()
    named = {SAVED_AS.get((name, key), key): tensor for key, tensor in model.named_parameters()}
    make_weights(named)
    return rng, config, model, named


def case(name, index):
    rng, config, model, named = build(name, index)
    tokens = torch.tensor([[rng.randrange(VOCAB) for _ in range(TIME)] for _ in range(BATCH)])
    labels = torch.tensor([[rng.randrange(VOCAB) if rng.random() < 0.85 else -100 for _ in range(TIME)] for _ in range(BATCH)])
    logits, stored = run(model, named, labels, input_ids=tokens, use_cache=False)
    with torch.no_grad(), in_double(model):
        greedy = model.generate(tokens[:1, :5], max_new_tokens=6, do_sample=False, attention_mask=torch.ones(1, 5, dtype=torch.long))
    return {"family": name, "config": saved(config), "tokens": tokens.tolist(), "labels": labels.tolist(),
            "logits": rounded_rows(logits[:, -1]), "greedy": greedy[0].tolist(), **stored}


def write(path, cases):
    with open(path, "w") as out:
        out.write("[\n" + ",\n".join(json.dumps(c, separators=(",", ":")) for c in cases) + "\n]\n")
    print(path.name, len(cases), "cases", path.stat().st_size, "bytes", file=sys.stderr)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--list", action="store_true", help="print parameter names only")
    parser.add_argument("--out", type=pathlib.Path, default=OUT, help="folder")
    parser.add_argument("--cases", type=int, default=CASES)
    parser.add_argument("families", nargs="*")
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(1)
    transformers.logging.set_verbosity_error()
    names = args.families or list(MODELS)
    if args.list:
        for name in names:
            print(name, {k: list(v.shape) for k, v in build(name, 0)[3].items()})
        return
    write(args.out / "families.json",
          [case(name, i) for name in names for i in range(args.cases + (name in ("llama", "falcon", "gemma3_text")))])
    write(args.out / "encoders.json", [encoder_case(name, i) for name in ENCODERS for i in range(args.cases + 1)])


if __name__ == "__main__":
    main()
