#!/usr/bin/env python3
"""Checks that every include between rooms is declared and points down.

Reads the hydrofoil_library(...) declarations and every #include of the sources. A room may include
itself and the rooms in its DEPS (or theirs); only rooms marked TORCH include libtorch, and torch/torch.h
is kept out of the library altogether.
"""
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
TORCH_HEADER = re.compile(r'#include [<"](ATen|c10|torch|caffe2)/')
OWN_HEADER = re.compile(r'#include "hydrofoil/([a-z_]+)/')


def declared_rooms():
    rooms = {}
    for lists in sorted((ROOT / "hydrofoil").rglob("CMakeLists.txt")):
        folder = lists.parent.relative_to(ROOT / "hydrofoil").parts[0]
        for body in re.findall(r"hydrofoil_library\(([^)]*)\)", lists.read_text()):
            words = body.split()
            room = {"folder": folder, "torch": "TORCH" in words, "deps": [], "level": int(words[words.index("LEVEL") + 1])}
            if "DEPS" in words:
                for word in words[words.index("DEPS") + 1:]:
                    if word.isupper():
                        break
                    room["deps"].append(word)
            sources = words[words.index("SRCS") + 1:] if "SRCS" in words else []
            room["sources"] = {s for s in sources if s.endswith((".cpp", ".cu", ".inl"))}
            rooms[words[words.index("NAME") + 1]] = room
    return rooms


def reach(rooms, name, seen=None):
    seen = set() if seen is None else seen
    for dep in rooms[name]["deps"]:
        if dep in rooms and dep not in seen:
            seen.add(dep)
            reach(rooms, dep, seen)
    return seen


def main():
    rooms = declared_rooms()
    problems = []
    for name, room in rooms.items():
        for dep in room["deps"]:
            if dep not in rooms:
                problems.append(f"hydrofoil/{room['folder']}: DEPS names an unknown room '{dep}'")
            elif rooms[dep]["level"] >= room["level"]:
                problems.append(f"hydrofoil/{name} (level {room['level']}) depends upward on {dep} (level {rooms[dep]['level']})")
    for path in sorted((ROOT / "hydrofoil").rglob("*")):
        if path.suffix not in {".h", ".cpp", ".inl", ".cu", ".cuh"}:
            continue
        folder = path.relative_to(ROOT / "hydrofoil").parts[0]
        local = str(path.relative_to(ROOT / "hydrofoil" / folder))
        owners = [n for n, r in rooms.items() if r["folder"] == folder]
        # A folder may hold several targets (memory and its tensor adapter): the one that lists the
        # source, or whose header stands beside it, answers for the file.
        stem = str(pathlib.PurePosixPath(local).with_suffix(""))
        mine = [n for n in owners if any(str(pathlib.PurePosixPath(s).with_suffix("")) == stem for s in rooms[n]["sources"])]
        owners = mine or owners
        if not owners:
            problems.append(f"{path.relative_to(ROOT)}: belongs to no declared room")
            continue
        allowed = {rooms[n]["folder"] for n in owners} | {rooms[d]["folder"] for n in owners for d in reach(rooms, n)}
        torch_ok = any(rooms[n]["torch"] for n in owners)
        for number, line in enumerate(path.read_text().splitlines(), 1):
            where = f"{path.relative_to(ROOT)}:{number}"
            match = OWN_HEADER.match(line.strip())
            if match and match.group(1) not in allowed:
                problems.append(f"{where}: hydrofoil/{folder} must not include hydrofoil/{match.group(1)} (not in its DEPS)")
            if TORCH_HEADER.match(line.strip()) and not torch_ok:
                problems.append(f"{where}: hydrofoil/{folder} does not know libtorch")
            if re.match(r'\s*#include [<"]torch/torch\.h', line):
                problems.append(f"{where}: torch/torch.h costs 20 s a file; include what is used")
    for problem in problems:
        print(problem)
    print(f"check_layers: {len(rooms)} rooms, {len(problems)} problems")
    return bool(problems)


if __name__ == "__main__":
    sys.exit(main())
