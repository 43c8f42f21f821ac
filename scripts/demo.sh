#!/usr/bin/env bash
# A small GPT from text to text: train with ZeRO-3 on two ranks, stop, resume on three, sample, and
# compare what was predicted with what was measured. Needs `make build`; about ten minutes on two
# cores, of which training takes at most six.
set -euo pipefail
cd "$(dirname "$0")/.."
hydrofoil=build/hydrofoil
out=runs/demo
train_seconds=${TRAIN_SECONDS:-300} # the second part adds about a minute

say() { printf '\n\033[1m%s\033[0m\n' "$*"; }

say "1. The text"
scripts/fetch_corpus.py

say "2. What the run will need, before it runs"
$hydrofoil plan examples/demo.json --ranks 2

say "3. Train with ZeRO-3 on two ranks; stop after $train_seconds s (SIGTERM, answered by a save)"
rm -rf "$out"
mkdir -p runs
code=0
timeout -s TERM "$train_seconds" $hydrofoil train examples/demo.json --ranks 2 --json >runs/demo-2.jsonl || code=$?
case $code in 0 | 75 | 124) ;; *) exit "$code" ;; esac # 124: timeout's own

say "4. Resume the same run on three ranks"
reached=$(sed -n 's/^{"event":"end","steps":\([0-9]*\).*/\1/p' runs/demo-2.jsonl)
$hydrofoil train examples/demo.json --ranks 3 --resume auto --set steps=$((reached + 20)) --json >runs/demo-3.jsonl

say "5. Ask it"
$hydrofoil generate "$out" --prompt "And it came to pass" --max-tokens 60 --seed 1

say "6. Predicted against measured"
$hydrofoil eval "$out" --text assets/corpora/heldout.txt --json >runs/demo-eval.json
scripts/demo_table.py
