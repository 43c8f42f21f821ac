#!/usr/bin/env python3
"""Makes tests/kernels/golden/dequantize.safetensors with the Python package gguf (0.19.0; pip install gguf).

For each block type: blocks (U8) under its name, and what the package makes of them (F32) under
NAME.values. Blocks: all zero, all ones, scales that are infinite, the largest, subnormal, negative
zero or no number, then random ones.
"""
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


def main():
    FOLDER.mkdir(exist_ok=True)
    random = np.random.default_rng(20)
    header, data = {}, b""
    for name in SCALES:
        for suffix, dtype, array in zip(("", ".values"), ("U8", "F32"), blocks_of(name, random)):
            begin = len(data)
            data += array.tobytes()
            header[name + suffix] = {"dtype": dtype, "shape": list(array.shape), "data_offsets": [begin, len(data)]}
    text = json.dumps(header, separators=(",", ":")).encode()
    (FOLDER / "dequantize.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + data)


if __name__ == "__main__":
    main()
