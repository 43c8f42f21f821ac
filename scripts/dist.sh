#!/usr/bin/env bash
# Makes dist/hydrofoil, a folder that can be copied to another machine of this kind (same CPU family,
# same or newer glibc and libstdc++): the program, its training commands and libtorch, found relative
# to the program. Tries it from another folder without any environment.
set -euo pipefail
cd "$(dirname "$0")/.."
rm -rf dist/hydrofoil
cmake --install build --prefix "$PWD/dist/hydrofoil" --strip >/dev/null
(cd / && env -i "$OLDPWD/dist/hydrofoil/hydrofoil" --version)
if [ -e dist/hydrofoil/lib/libhydrofoil_train.so ]; then
  (cd / && env -i "$OLDPWD/dist/hydrofoil/hydrofoil" train --help >/dev/null)
  # Nothing may point back into this machine's build or Python folders.
  if outside=$(env -i ldd dist/hydrofoil/lib/libhydrofoil_train.so |
    awk '$3 ~ /^\// { print $3 }' | grep -vE "^($PWD/dist/hydrofoil/lib|/lib|/usr/lib)/"); then
    echo "dist: libraries outside the folder: $outside" >&2
    exit 1
  fi
fi
du -sh dist/hydrofoil
