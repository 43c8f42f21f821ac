#!/usr/bin/env bash
# Feeds each parser of foreign files under libFuzzer with the address and undefined sanitizers.
#
#   SECONDS_EACH=60 scripts/fuzz.sh [TARGET ..]     (default: all; see tests/fuzz)
#
# Inputs that reached something new stay in build-fuzz/corpus; a finding stops the script and is
# written beside them as crash-, leak-, timeout- or oom-*.
set -euo pipefail
cd "$(dirname "$0")/.."

seconds=${SECONDS_EACH:-60}
[ $# -gt 0 ] || set -- safetensors gguf torch_zip tokenizer_json chat_template config_json
command -v clang++-19 >/dev/null || { echo "fuzz: clang++-19 is needed (apt-get install clang-19 libclang-rt-19-dev)" >&2; exit 1; }
[ -f build-fuzz/build.ninja ] || cmake --preset fuzz
cmake --build build-fuzz -j "${JOBS:-$(nproc)}" "${@/#/--target=fuzz_}"
for target in "$@"; do
  corpus=build-fuzz/corpus/$target
  mkdir -p "$corpus"
  echo "== $target: $seconds s"
  "build-fuzz/tests/fuzz/fuzz_$target" -max_total_time="$seconds" -max_len=65536 -timeout=10 -rss_limit_mb=2048 \
    -artifact_prefix="build-fuzz/corpus/" -verbosity=0 -print_final_stats=1 "$corpus"
done
