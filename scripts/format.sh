#!/usr/bin/env bash
# Lays out every C++ source with clang-format 19; --check only says which differ.
set -euo pipefail
cd "$(dirname "$0")/.."
if ! command -v clang-format-19 >/dev/null; then
  echo "format: clang-format-19 is not installed (scripts/bootstrap.sh --tools)" >&2
  exit 1
fi
mode=(-i)
if [ "${1:-}" = --check ]; then mode=(--dry-run --Werror); fi
git ls-files -z --cached --others --exclude-standard -- '*.cpp' '*.h' '*.inl' '*.cu' '*.cuh' |
  xargs -0 -r clang-format-19 "${mode[@]}"
