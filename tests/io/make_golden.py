#!/usr/bin/env python3
"""Makes tests/io/golden/kinds.gguf with the Python package gguf (0.19.0; pip install gguf).

Every kind of metadata value, nested lists, another alignment than the usual one, and tensors of
four types whose bytes count up.
"""
import pathlib

import gguf
import numpy as np

FOLDER = pathlib.Path(__file__).resolve().parent / "golden"


def main():
    FOLDER.mkdir(exist_ok=True)
    writer = gguf.GGUFWriter(FOLDER / "kinds.gguf", "llama")
    writer.add_custom_alignment(64)
    writer.add_uint8("k.u8", 200)
    writer.add_int8("k.i8", -100)
    writer.add_uint16("k.u16", 60000)
    writer.add_int16("k.i16", -30000)
    writer.add_uint32("k.u32", 4000000000)
    writer.add_int32("k.i32", -2000000000)
    writer.add_uint64("k.u64", 2**64 - 1)
    writer.add_int64("k.i64", -2**63)
    writer.add_float32("k.f32", 0.1)
    writer.add_float64("k.f64", 0.1)
    writer.add_bool("k.yes", True)
    writer.add_bool("k.no", False)
    writer.add_string("k.text", "zwölf Boxkämpfer")
    writer.add_array("k.texts", ["", "a", "Ġthe"])
    writer.add_array("k.i32s", [3, -1, 2**31 - 1])
    writer.add_array("k.f32s", [0.5, -2.0])
    writer.add_array("k.flags", [True, False, True])
    writer.add_array("k.bytes", b"\x00\x7f\xff")
    writer.add_array("k.nested", [[[1, 2], [3]], [[4]]])
    writer.add_array("k.nested_texts", [["a", "b"], ["c"]])

    def counting(count, dtype):
        return np.arange(count, dtype=dtype)

    writer.add_tensor("f32", counting(6, np.float32).reshape(2, 3))
    writer.add_tensor("f16", counting(5, np.float16))
    writer.add_tensor("q8_0", counting(4 * 34, np.uint8).reshape(2, 68), raw_dtype=gguf.GGMLQuantizationType.Q8_0)
    writer.add_tensor("i64", counting(1, np.int64).reshape(1, 1, 1, 1))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    main()
