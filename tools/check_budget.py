#!/usr/bin/env python3
"""Reports the tail that reviews should look at: longest files, longest functions, widest parameter lists.

Never fails. Aims (CONTRIBUTING.md): files under 400 lines, functions mostly under 30 and never over 60,
at most 5 parameters. Functions are found by their braces, which is exact for sources laid out by
clang-format.
"""
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
NOISE = re.compile(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|(?<![0-9a-fA-F])\'(?:\\.|[^\'\\\n])\'', re.S)
HEAD = re.compile(r"([\w~:]+(?:<[^<>]*>)?)\s*\(([^{};]*)\)\s*(?:const|noexcept|override|final|mutable|->\s*[\w:<>&*, ]+|:\s[^{};]*(?:\{[^{}]*\}[^{};]*)*)*\s*$", re.S)
CONTROL = {"if", "for", "while", "switch", "catch", "return", "namespace", "sizeof", "defined"}


def blank(match):
    return re.sub(r"[^\n]", " ", match.group())


def parameters(text):
    depth, count = 0, bool(text.strip())
    for c in text:
        depth += (c in "<([{") - (c in ">)]}")
        count += c == "," and depth == 0
    return int(count)


def functions(text):
    """(name, first line, lines, parameters) of each outermost function body."""
    text = NOISE.sub(blank, text)
    stack, body, start = [], None, 0
    for i, c in enumerate(text):
        if c in ";}":
            start = i + 1
        if c == "{":
            head = HEAD.search(text[start:i]) if body is None else None
            stack.append(i)
            if head and head.group(1) not in CONTROL:
                body = (len(stack), head.group(1), text.count("\n", 0, start + head.start()) + 1, parameters(head.group(2)))
            elif body is None:
                start = i + 1
        elif c == "}" and stack:
            if body and len(stack) == body[0]:
                yield body[1], body[2], text.count("\n", 0, i) + 2 - body[2], body[3]
                body = None
            stack.pop()


def main():
    rows, files = [], []
    for path in sorted(p for top in ("hydrofoil", "cli") for p in (ROOT / top).rglob("*")):
        if path.suffix in {".h", ".cpp", ".inl", ".cu", ".cuh"}:
            text = path.read_text()
            name = str(path.relative_to(ROOT))
            files.append((text.count("\n"), name))
            rows += [(lines, wide, f"{name}:{line} {function}") for function, line, lines, wide in functions(text)]
    lengths = sorted(r[0] for r in rows) or [0]
    over = sum(n > 60 for n in lengths)
    print(f"{len(files)} files, {len(rows)} functions: median {lengths[len(lengths) // 2]} lines, "
          f"90 % under {lengths[len(lengths) * 9 // 10]}, {over} over 60")
    for title, top in (("longest files", sorted(files, reverse=True)[:5]),
                       ("longest functions", sorted(((r[0], r[2]) for r in rows), reverse=True)[:8]),
                       ("most parameters", sorted(((r[1], r[2]) for r in rows), reverse=True)[:5])):
        print(f"{title}:")
        for number, name in top:
            print(f"  {number:5} {name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
