#!/usr/bin/env bash
# Finds what the build needs and is not there yet, and installs it where that is allowed.
#
#   scripts/bootstrap.sh            everything `make build` and `make test` need
#   scripts/bootstrap.sh --check    only says what is missing; exit 1 when something is
#   scripts/bootstrap.sh --tools    also clang-format and clang-tidy (make format, make lint)
#   scripts/bootstrap.sh --mpi      also Open MPI (the comm backend mpi)
#   scripts/bootstrap.sh --no-torch system packages only
#
# System packages come from apt-get and need root; libtorch is the PyTorch wheel, installed by pip
# into .venv (HYDROFOIL_TORCH overrides the requirement, TORCH_ROOT an existing site-packages/torch).
set -euo pipefail
cd "$(dirname "$0")/.."

check_only=0 tools=0 torch=1 mpi=0
for argument in "$@"; do
  case $argument in
    --check) check_only=1 ;;
    --tools) tools=1 ;;
    --mpi) mpi=1 ;;
    --no-torch) torch=0 ;;
    -h | --help) sed -n '2,11s/^# \{0,1\}//p' "$0"; exit 0 ;;
    *) echo "bootstrap: unknown argument '$argument' (see --help)" >&2; exit 2 ;;
  esac
done

missing=() # "package|why"
need() { missing+=("$1|$2"); }
have() { command -v "$1" >/dev/null 2>&1; }
at_least() { [ "$(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1)" = "$2" ]; } # version minimum

find_missing() {
  missing=()
  if ! have g++ || ! at_least "$(g++ -dumpfullversion)" 12; then need g++ "the compiler, version 12 or newer"; fi
  if ! have cmake || ! at_least "$(cmake --version | grep -om1 '[0-9][0-9.]*')" 3.24; then
    need cmake "the build description, version 3.24 or newer"
  fi
  have ninja || need ninja-build "runs the build"
  have ccache || need ccache "makes rebuilding fast"
  have mold || need mold "links in a tenth of the time"
  local state package why
  while read -r state package why; do
    if [ "$state" = missing ]; then need "$package" "$why"; fi
  done < <(probe_headers)
  if [ $torch = 1 ] && ! python3 -c 'import venv, ensurepip' 2>/dev/null; then
    need python3-venv "a private place (.venv) for the PyTorch wheel, which holds libtorch"
  fi
  if [ $mpi = 1 ]; then
    have mpicc || need libopenmpi-dev "the comm backend mpi"
    have mpirun || need openmpi-bin "starts ranks"
  fi
  if [ $tools = 1 ]; then
    have clang-format-19 || need clang-format-19 "make format: the one layout of the sources"
    have clang-tidy-19 || need clang-tidy-19 "make lint"
  fi
}

# One run of the preprocessor for all headers: "found|missing PACKAGE WHY" lines.
probe_headers() {
  local headers="nlohmann/json.hpp nlohmann-json3-dev JSON
CLI/CLI.hpp libcli11-dev the command line
gtest/gtest.h libgtest-dev unit tests
gmock/gmock.h libgmock-dev unit tests
benchmark/benchmark.h libbenchmark-dev kernel benchmarks
pcre2.h libpcre2-dev regular expressions of the tokenizers
utf8proc.h libutf8proc-dev Unicode normalisation of the tokenizers
xxhash.h libxxhash-dev checksums of checkpoints
liburing.h liburing-dev reading and writing files beside the computation"
  local header rest
  if ! have g++; then
    while read -r header rest; do echo "missing $rest"; done <<<"$headers"
    return
  fi
  while read -r header rest; do
    printf '#if __has_include(<%s>)\n>found %s\n#else\n>missing %s\n#endif\n' "$header" "$rest" "$rest"
  done <<<"$headers" | g++ -std=c++20 -E -P -x c++ - | sed -n 's/^> *//p'
}

report() {
  echo "bootstrap: missing (installing these needs root):"
  local entry
  for entry in "${missing[@]}"; do printf '  %-20s %s\n' "${entry%%|*}" "${entry#*|}"; done
}

install_packages() {
  local packages=("${missing[@]%%|*}") as_root=()
  if ! have apt-get; then
    echo "bootstrap: this system has no apt-get. Install what the list names (Debian's package names)" >&2
    echo "bootstrap: with your own package manager, then run this again." >&2
    exit 1
  fi
  if [ "$(id -u)" != 0 ]; then
    if ! have sudo || ! sudo -n true 2>/dev/null; then
      echo "bootstrap: not root, and sudo asks for a password. Run this, then try again:" >&2
      echo "  sudo apt-get update && sudo apt-get install -y --no-install-recommends ${packages[*]}" >&2
      exit 1
    fi
    as_root=(sudo -n)
  fi
  echo "bootstrap: installing with apt-get"
  "${as_root[@]}" apt-get update -qq
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get install -y -qq --no-install-recommends "${packages[@]}"
}

# The version in .venv that satisfies the requirement, or nothing.
installed_torch() {
  local version
  for version in .venv/lib/python3*/site-packages/torch/version.py; do
    [ -f "${version%version.py}lib/libtorch_cpu.so" ] && [ -x .venv/bin/python3 ] || continue
    sed -n "s/^__version__ = '\(.*\)'/\1/p" "$version"
  done
}

install_torch() {
  echo "bootstrap: installing $requirement into .venv (the only large download)"
  .venv/bin/python3 -m pip --version >/dev/null 2>&1 || rm -rf .venv
  [ -d .venv ] || python3 -m venv .venv
  .venv/bin/python3 -m pip install --quiet --disable-pip-version-check "$requirement"
}

find_missing
if [ ${#missing[@]} -gt 0 ]; then
  report
  if [ $check_only = 1 ]; then exit 1; fi
  install_packages
  find_missing
  if [ ${#missing[@]} -gt 0 ]; then
    report >&2
    echo "bootstrap: still missing after the installation; see the messages above" >&2
    exit 1
  fi
fi

requirement=${HYDROFOIL_TORCH:-torch==2.13.0}
if [ $torch = 1 ] && [ -z "${TORCH_ROOT:-}" ]; then
  version=$(installed_torch)
  if [ -z "$version" ] || { [ -z "${HYDROFOIL_TORCH:-}" ] && [ "${version%%+*}" != "${requirement#*==}" ]; }; then
    if [ $check_only = 1 ]; then
      echo "bootstrap: missing: .venv with $requirement (no root needed; run without --check)"
      exit 1
    fi
    install_torch
  fi
fi
