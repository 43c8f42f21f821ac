#!/usr/bin/env bash
# clang-tidy over the sources that do not know libtorch (with it, a file takes half a minute).
set -euo pipefail
cd "$(dirname "$0")/.."
build=build-lint  # of the compiler's commands, a file each
if ! command -v clang-tidy-19 >/dev/null; then
  echo "lint: clang-tidy-19 is not installed (scripts/bootstrap.sh --tools)" >&2
  exit 1
fi
cmake -G Ninja -B $build -DHYDROFOIL_TORCH=OFF -DHYDROFOIL_BENCHMARKS=OFF >/dev/null
# OpenMP off: clang would want its own omp.h.
git ls-files -- 'hydrofoil/*.cpp' 'cli/*.cpp' | xargs grep -LE '#include [<"](ATen|c10|torch)/' |
  xargs -P "$(nproc)" -n 4 clang-tidy-19 -p "$build" --quiet --extra-arg=-fno-openmp --extra-arg=-Wno-deprecated-declarations
