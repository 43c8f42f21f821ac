#!/usr/bin/env bash
# The packed folder does what the program does where there is neither this repository nor libtorch's
# wheel: both are hidden in a mount namespace. Where none may be made, they stay visible.
#
# (grep reads to the end: a reader that leaves early ends the program.)
#
# usage: dist_test.sh SOURCE BUILD TORCH
set -euo pipefail
source=$1 build=$2 torch=$3

# The second part, in the namespace: `place` holds the folder and a run file; the rest is out of reach.
if [ "${4:-}" = inside ]; then
  scratch=$5 place=$scratch
  if [ "$6" = hidden ]; then
    mount --bind "$scratch" /mnt
    for hidden in "$torch" "$build" "$source"; do
      if [ -e "$hidden" ]; then mount -t tmpfs none "$hidden"; fi
    done
    place=/mnt
    test ! -e "$source/README.md" -a ! -e "$torch/version.py"
  fi
  cd "$place"
  hydrofoil() {
    echo "\$ hydrofoil $*" >&2
    env -i "$place/hydrofoil/hydrofoil" "$@"
  }
  run='{"version":1, "model":{"config":{"model_type":"gpt2","vocab_size":300,"n_embd":36,"n_layer":2,"n_head":3,
    "n_positions":24}}, "data":{"train":["text.txt"],"sequence_length":17}, "steps":6, "seed":3, "output":"out",
    "deepspeed":{"train_micro_batch_size_per_gpu":2,"zero_optimization":{"stage":3}}}'
  echo "$run" >run.json
  seq 1 4000 | sed 's/$/ and so on/' >text.txt
  hydrofoil doctor --json | grep "\"training_library\":\"$place/hydrofoil/lib/" >/dev/null
  hydrofoil config check run.json
  hydrofoil plan run.json --ranks 2 >/dev/null
  hydrofoil train run.json --ranks 2 --json | grep '"event":"end"' >/dev/null
  hydrofoil train run.json --ranks 3 --resume auto --set steps=8 --json | grep '"step":8' >/dev/null
  hydrofoil checkpoint verify out
  hydrofoil generate out --prompt "1 and" --max-tokens 5 >/dev/null
  hydrofoil bench comm --largest 64 --seconds 0.001 --json | grep '"event":"end"' >/dev/null
  exit 0
fi

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
"$source/scripts/dist.sh" "$build" "$scratch/hydrofoil"
inside=("$0" "$source" "$build" "$torch" inside "$scratch")
if unshare -m true 2>/dev/null; then
  unshare -m bash "${inside[@]}" hidden
else
  echo "dist_test: may not hide the repository, it stays visible" >&2
  bash "${inside[@]}" visible
fi
