#!/usr/bin/env python3
"""Makes tests/io/golden/torch.bin with PyTorch (2.13), and torch.safetensors with what is in it.

The .bin holds tensors of all ten element types, views (transposed, sliced, of one shared storage), a
parameter, a scalar, an empty tensor, an expanded dim of 1, and a module's state_dict in a dict of its own
beside what is no tensor. The .safetensors holds the same tensors contiguously. torch_protocol4.bin is a
small one with another pickle protocol.
"""
import json
import pathlib
import struct

import torch

FOLDER = pathlib.Path(__file__).resolve().parent / "golden"
TYPES = {torch.float32: "F32", torch.float64: "F64", torch.bfloat16: "BF16", torch.float16: "F16", torch.int64: "I64",
         torch.int32: "I32", torch.int16: "I16", torch.int8: "I8", torch.uint8: "U8", torch.bool: "BOOL"}


def checkpoint():
    torch.manual_seed(20)
    result = {f"types.{name}": torch.tensor([1, 0, 3, -5 if name not in ("U8", "BOOL") else 5]).to(dtype)
              for dtype, name in TYPES.items()}
    base = torch.randn(7, 5, 3)
    result["base"] = base
    result["transposed"] = base.transpose(0, 2)
    result["sliced"] = base[1::2, :, 2]
    result["row"] = base[3, 1]
    result["tied"] = base
    result["parameter"] = torch.nn.Parameter(torch.randn(2, 3))
    result["scalar"] = torch.tensor(2.5)
    result["empty"] = torch.empty(0, 4)
    result["expanded"] = torch.arange(3).expand(1, -1)
    model = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.LayerNorm(2))
    return result | {"model": model.state_dict(), "epoch": 3, "big": 2**40, "loss": 0.5, "name": "x", "none": None,
                     "flags": [True, False], "pair": (1, 2)}


def flat(values, prefix=""):
    for name, value in values.items():
        if isinstance(value, dict):
            yield from flat(value, prefix + name + ".")
        elif isinstance(value, torch.Tensor):
            yield prefix + name, value.detach()


def save_safetensors(values, path):
    header, data = {}, b""
    for name, tensor in flat(values):
        raw = bytes(tensor.contiguous().clone().untyped_storage().tolist())
        header[name] = {"dtype": TYPES[tensor.dtype], "shape": list(tensor.shape),
                        "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header, separators=(",", ":")).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def main():
    FOLDER.mkdir(exist_ok=True)
    values = checkpoint()
    torch.save(values, FOLDER / "torch.bin")
    save_safetensors(values, FOLDER / "torch.safetensors")
    torch.save({"w": torch.arange(6.).reshape(2, 3)}, FOLDER / "torch_protocol4.bin", pickle_protocol=4)


if __name__ == "__main__":
    main()
