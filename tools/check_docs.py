#!/usr/bin/env python3
"""Checks that what the documentation names exists: files, links, make targets, commands and options.

Reads every Markdown file of the repository. A path is any `code span` or link that begins with one of
our folders; a command is a line or span that begins with `make` or `hydrofoil`.
"""
import pathlib
import re
import subprocess
import sys

import check_layers

ROOT = pathlib.Path(__file__).resolve().parent.parent
FOLDERS = "hydrofoil|cli|tests|benchmarks|examples|docs|cmake|scripts|tools"
PATH = re.compile(rf"^(?:{FOLDERS})/[\w./{{}},*<>-]*$")
LINK = re.compile(r"\[[^\]]*\]\(([^)#\s]+)(?:#[^)]*)?\)")
SPAN = re.compile(r"`([^`\n]+)`")


def tracked():
    listed = subprocess.run(["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=ROOT, check=True,
                            capture_output=True, text=True).stdout.split("\n")
    return [ROOT / name for name in listed if name]


def make_targets():
    targets = set()
    for names in re.findall(r"^([a-z][a-z -]*):", (ROOT / "Makefile").read_text(), re.M):
        targets |= set(names.split())
    return targets


def commands():
    """Command words, and every --option that a source of the command line mentions."""
    sources = "".join(path.read_text() for path in (ROOT / "cli").glob("*.cpp"))
    words = set(re.findall(r'(?:add_subcommand\(|TorchCommand\{)\s*"([a-z-]+)"', sources))
    return words, set(re.findall(r"--[a-z][a-z0-9-]*", sources)) | {"--help"}


def expand(path):
    """a/{b,c}.h stands for two files, * for any."""
    match = re.search(r"\{([^{}]*)\}", path)
    if not match:
        return [path]
    return [p for part in match.group(1).split(",") for p in expand(path[:match.start()] + part + path[match.end():])]


def exists(path):
    path = re.sub(r":\d+$", "", path).rstrip("/.")
    if "<" in path:  # hydrofoil/<room>/
        path = re.sub(r"<[^>]*>", "*", path)
    return all(any(ROOT.glob(p)) if "*" in p else (ROOT / p).exists() for p in expand(path))


def check_command(text, words, options, targets):
    tokens = text.split()
    if tokens[0] == "make":
        named = [t for t in tokens[1:] if re.fullmatch(r"[a-z-]+", t) and not t.startswith("-")]
        return [f"make has no target '{t}'" for t in named if t not in targets]
    problems = []
    if len(tokens) > 1 and re.fullmatch(r"[a-z-]+", tokens[1]) and tokens[1] not in words:
        problems.append(f"hydrofoil has no command '{tokens[1]}'")
    for option in re.findall(r"(?<!\S)(--[a-z][a-z0-9-]*)", text):
        if option not in options:
            problems.append(f"no command has the option '{option}'")
    return problems


def check_file(path, words, options, targets):
    problems, fenced = [], False
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if line.lstrip().startswith("```"):
            fenced = not fenced
            continue
        found = []
        for link in LINK.findall(line):
            if not re.match(r"[a-z]+:", link) and not (path.parent / link).exists():
                found.append(f"link to '{link}', which does not exist")
        spans = [re.sub(r"^\s*\$ ", "", line).split(" #")[0].strip()] if fenced else SPAN.findall(line)
        for span in spans:
            span = re.sub(r"^build/(?=hydrofoil\b)", "", span)
            if re.match(r"(make|hydrofoil) \S", span):
                found += check_command(span, words, options, targets)
            elif not fenced and PATH.match(span) and not exists(span):
                found.append(f"'{span}' does not exist")
        problems += [f"{path.relative_to(ROOT)}:{number}: {text}" for text in found]
    return problems


def check_levels():
    """CONTRIBUTING.md's table of levels says what the build says."""
    page = (ROOT / "CONTRIBUTING.md").read_text()
    listed = {name: int(level) for level, names in re.findall(r"^\| (\d) \| (.*) \|$", page, re.M)
              for name in re.findall(r"[a-z_]+", re.sub(r"\([^)]*\)", "", names))}
    declared = {name: room["level"] for name, room in check_layers.declared_rooms().items()} | {"cli": 9}
    return [f"CONTRIBUTING.md: room '{name}' is on level {declared.get(name)}, the table says {listed.get(name)}"
            for name in sorted(listed.keys() | declared.keys()) if listed.get(name) != declared.get(name)]


def main():
    words, options = commands()
    targets = make_targets()
    pages = [p for p in tracked() if p.suffix == ".md" and p.exists()]
    problems = [text for page in pages for text in check_file(page, words, options, targets)] + check_levels()
    for problem in problems:
        print(problem)
    print(f"check_docs: {len(pages)} pages, {len(problems)} problems")
    return bool(problems)


if __name__ == "__main__":
    sys.exit(main())
