#!/usr/bin/env python3
"""Checks that objects compiled for a wider instruction set share nothing with the rest of the program.

A weak symbol (an inline function of the standard library, say) that such an object emits may be the
copy the linker keeps for everybody: baseline code would then run AVX instructions and crash on an older
CPU, outside any kernel. So every weak symbol of these objects must lie in its tier's own namespace.

  tools/check_isa_symbols.py BUILD_FOLDER
"""
import pathlib
import re
import subprocess
import sys

OBJECT = re.compile(r"_(avx2|avx512|avx512_vnni|avx512_bf16)\.cpp\.o$")
WEAK = re.compile(r"^\s*[0-9a-f]*\s+([WwVvu])\s+(.*)$")


def foreign_weak_symbols(path, tier):
    listing = subprocess.run(["nm", "-C", str(path)], check=True, capture_output=True, text=True).stdout
    for line in listing.splitlines():
        match = WEAK.match(line)
        if match and f"hydrofoil::kernels::{tier}::" not in match.group(2):
            yield match.group(2)


def main():
    if len(sys.argv) != 2:
        print(__doc__)
        return 2
    objects = [p for p in sorted(pathlib.Path(sys.argv[1]).rglob("*.o")) if OBJECT.search(p.name)]
    problems = [f"{p.name}: {s}" for p in objects for s in foreign_weak_symbols(p, OBJECT.search(p.name).group(1))]
    for problem in problems:
        print(problem)
    print(f"check_isa_symbols: {len(objects)} objects, {len(problems)} problems")
    return bool(problems) or not objects


if __name__ == "__main__":
    sys.exit(main())
