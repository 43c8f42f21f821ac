#!/usr/bin/env bash
# A small GPT from text to text: train with ZeRO-3 on two ranks, stop, resume on three, sample, and
# compare what was predicted with what was measured. Needs `make build`. Training takes at most six
# minutes: a short probe finds how many steps this machine does in TRAIN_SECONDS (default 300).
set -euo pipefail
cd "$(dirname "$0")/.."
hydrofoil=build/hydrofoil
run=examples/demo.json
out=runs/demo
train_seconds=${TRAIN_SECONDS:-300}

say() { printf '\n\033[1m%s\033[0m\n' "$*"; }

# Trains for so many seconds at most; a stop by SIGTERM is answered by a save.
train_for() { # seconds arguments..
  local code=0
  timeout -s TERM "$1" $hydrofoil train $run "${@:2}" --set steps="$steps" --json || code=$?
  case $code in 0 | 75 | 124) ;; *) exit "$code" ;; esac # 124: timeout's own
}

say "1. The text"
scripts/fetch_corpus.py

say "2. What the run will need, before it runs"
$hydrofoil plan $run --ranks 2

say "3. How fast is this machine? 100 steps of the same run"
rm -rf "$out" runs/demo-probe
mkdir -p runs
$hydrofoil train $run --ranks 2 --output runs/demo-probe --set steps=100 --set data.eval=[] --json >runs/demo-probe.jsonl
steps=$(scripts/demo_table.py --steps-in "$train_seconds")
rm -rf runs/demo-probe
stop_after=$((train_seconds * 5 / 6))
echo "$steps steps take about $train_seconds s here"

say "4. Train with ZeRO-3 on two ranks; stop after $stop_after s (SIGTERM, answered by a save)"
train_for "$stop_after" --ranks 2 >runs/demo-2.jsonl

say "5. Resume the same run on three ranks, to its end"
train_for $((360 - stop_after)) --ranks 3 --resume auto >runs/demo-3.jsonl

say "6. Ask it"
$hydrofoil generate "$out" --prompt "And it came to pass" --max-tokens 60 --seed 1

say "7. Predicted against measured"
$hydrofoil eval "$out" --text assets/corpora/heldout.txt --json >runs/demo-eval.json
scripts/demo_table.py
