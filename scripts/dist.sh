#!/usr/bin/env bash
# Makes dist/hydrofoil, a folder that can be copied to another machine of this kind (same CPU family,
# same or newer glibc and libstdc++): the program, its training commands and libtorch, found relative
# to the program. Tries it from another folder without any environment; tests/cli/dist_test.sh tries more.
#
# usage: dist.sh [BUILD [FOLDER]]
set -euo pipefail
cd "$(dirname "$0")/.."
build=${1:-build}
folder=$(realpath -m "${2:-dist/hydrofoil}")
rm -rf "$folder"
cmake --install "$build" --prefix "$folder" --strip >/dev/null
(cd / && env -i "$folder/hydrofoil" --version)
if [ -e "$folder/lib/libhydrofoil_train.so" ]; then
  (cd / && env -i "$folder/hydrofoil" train --help >/dev/null)
  # Nothing may point back into this machine's build or Python folders.
  if outside=$(env -i ldd "$folder/lib/libhydrofoil_train.so" |
    awk '$3 ~ /^\// { print $3 }' | grep -vE "^($folder/lib|/lib|/usr/lib)/"); then
    echo "dist: libraries outside the folder: $outside" >&2
    exit 1
  fi
fi
du -sh "$folder"
