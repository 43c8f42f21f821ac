#!/usr/bin/env python3
"""Makes the files of tests/kernels/golden with the Python package gguf (0.19.0; pip install gguf).

usage: make_golden.py [--ggml libggml-base.so]

For each block type: blocks (U8) under its name, and what the package makes of them (F32) under
NAME.values. Blocks: all zero, all ones, scales that are infinite, the largest, subnormal, negative
zero or no number, then random ones. The other way round: values (F32), and the package's blocks of them (U8) by type.
quantize_k.safetensors, with --ggml: values, and the blocks that llama.cpp's reference (ggml_quantize_chunk without an
importance matrix, of its library) makes of them; the package has no quantisers of these types.
"""
import argparse
import ctypes
import json
import pathlib

import gguf
import numpy as np

FOLDER = pathlib.Path(__file__).resolve().parent / "golden"
# Where a block holds half-precision scales.
SCALES = {"Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0], "Q2_K": [80, 82], "Q3_K": [108],
          "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208], "IQ4_NL": [0], "IQ4_XS": [0]}
SPECIAL = [0x7c00, 0xfc00, 0x7bff, 0xfbff, 0x0001, 0x83ff, 0x8000, 0x7e00]


def blocks_of(name, random):
    kind = gguf.GGMLQuantizationType[name]
    elements, size = gguf.GGML_QUANT_SIZES[kind]
    special = SPECIAL if elements == 32 else SPECIAL[:4:2]
    blocks = random.integers(0, 256, (2 + len(special) + (10 if elements == 32 else 3), size), dtype=np.uint8)
    blocks[0], blocks[1] = 0, 255
    for row in range(2, len(blocks)):
        for number, place in enumerate(SCALES[name]):
            bits = special[(row - 2 + 3 * number) % len(special)] if row - 2 < len(special) else \
                int(np.float16(random.normal() * 0.05).view(np.uint16))
            blocks[row, place:place + 2] = bits & 255, bits >> 8
    with np.errstate(all="ignore"):
        return blocks, gguf.quants.dequantize(blocks, kind)


def values_to_round():
    """Ordinary rows, and rows of zeros, ties, one sign, one large number, tiny numbers."""
    random = np.random.default_rng(21)
    values = random.normal(size=(24, 32)).astype(np.float32)
    values[0], values[1] = 0, np.arange(32) - 15.5
    values[2], values[3] = np.abs(values[2]), -np.abs(values[3])
    values[4, 7], values[5], values[6] = 1e4, values[5] * 1e-7, np.round(values[6] * 4) / 4
    return values


def write(name, arrays):
    header, data = {}, b""
    for key, (dtype, array) in arrays.items():
        begin = len(data)
        data += array.tobytes()
        header[key] = {"dtype": dtype, "shape": list(array.shape), "data_offsets": [begin, len(data)]}
    text = json.dumps(header, separators=(",", ":")).encode()
    (FOLDER / name).write_bytes(len(text).to_bytes(8, "little") + text + data)


def values_of_large_blocks():
    """Normal, with Student's tails (4 degrees of freedom), and columns of different spread."""
    random = np.random.default_rng(22)
    spread = np.exp(0.7 * random.normal(size=256))
    kinds = {"normal": random.normal(size=(12, 256)), "heavy": random.standard_t(4, size=(12, 256)),
             "rows": random.normal(size=(12, 256)) * spread}
    return {name: (0.02 * values).astype(np.float32) for name, values in kinds.items()}


def llama_blocks(ggml, name, values):
    kind = gguf.GGMLQuantizationType[name]
    blocks = np.zeros((len(values), gguf.GGML_QUANT_SIZES[kind][1]), np.uint8)
    pointer, size = ctypes.c_void_p, ctypes.c_int64
    ggml.ggml_quantize_chunk.argtypes = [ctypes.c_int, pointer, pointer, size, size, size, pointer]
    ggml.ggml_quantize_chunk(int(kind), values.ctypes.data, blocks.ctypes.data, 0, *values.shape, None)
    return blocks


def write_large_blocks(ggml):
    arrays = {}
    for kind, values in values_of_large_blocks().items():
        arrays[kind] = ("F32", values)
        for name in ("Q4_K", "Q5_K", "Q6_K"):
            arrays[f"{name}.{kind}"] = ("U8", llama_blocks(ggml, name, values))
    write("quantize_k.safetensors", arrays)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--ggml", help="llama.cpp's libggml-base.so")
    arguments = parser.parse_args()
    FOLDER.mkdir(exist_ok=True)
    if arguments.ggml:
        write_large_blocks(ctypes.CDLL(arguments.ggml))
    random = np.random.default_rng(20)
    arrays = {}
    for name in SCALES:
        blocks, values = blocks_of(name, random)
        arrays |= {name: ("U8", blocks), name + ".values": ("F32", values)}
    write("dequantize.safetensors", arrays)
    values = values_to_round()
    rounded = {name: ("U8", gguf.quants.quantize(values, gguf.GGMLQuantizationType[name])) for name in
               ("Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1")}
    write("quantize.safetensors", {"values": ("F32", values)} | rounded)


if __name__ == "__main__":
    main()
