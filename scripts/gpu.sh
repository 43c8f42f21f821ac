#!/usr/bin/env bash
# Builds and tests against a CUDA wheel of torch, on a GPU machine that may have no network.
#
#   scripts/gpu.sh pack    where apt-get works: the libraries the build needs, unpacked into .gpu (12 MB); take
#                          it along with the checkout. Skip it where they are installed.
#   scripts/gpu.sh build   on the GPU machine: everything, in build-cuda, against TORCH_ROOT or python3's torch
#   scripts/gpu.sh test    the fast tests (lane ci) there
#   scripts/gpu.sh nccl    builds what ranks talk over alone, without torch (build-nccl), and tries it with the NCCL
#                          and CUDA of python3's packages: one rank for real, several against a stand-in
#   scripts/gpu.sh bench   what the machine is and its figures, to standard output
#
# Each step ends within ten minutes on 16 cores and can be repeated: what is built is kept.
set -euo pipefail
cd "$(dirname "$0")/.."
packed=$PWD/.gpu
# Headers, static libraries and pkg-config, with the run-time libraries that the last two need.
packages=(nlohmann-json3-dev libcli11-dev libgtest-dev libgmock-dev libbenchmark-dev libbenchmark1debian
  libpcre2-dev libpcre2-8-0 libutf8proc-dev libutf8proc2 libxxhash-dev
  liburing-dev liburing2 pkgconf-bin libpkgconf3)

pack() {
  rm -rf "$packed"
  mkdir -p "$packed/packages"
  (cd "$packed/packages" && apt-get download -qq "${packages[@]}")
  local package
  for package in "$packed"/packages/*.deb; do dpkg-deb -x "$package" "$packed"; done
  rm -rf "$packed/packages" "$packed/usr/share/doc" "$packed/usr/share/man"
  ln -sf pkgconf "$packed/usr/bin/pkg-config"
  du -sh "$packed"
}

# Sets `options` of cmake and the environment.
use_packed() {
  options=()
  if [ -d "$packed" ]; then
    local libraries
    libraries=$(echo "$packed"/usr/lib/*-linux-gnu)
    export PATH=$packed/usr/bin:$PATH LD_LIBRARY_PATH=$libraries${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
    export PKG_CONFIG_SYSROOT_DIR=$packed PKG_CONFIG_LIBDIR=$libraries/pkgconfig
    options+=("-DCMAKE_PREFIX_PATH=$packed/usr" "-DCMAKE_INCLUDE_PATH=$packed/usr/include"
      "-DCMAKE_CXX_STANDARD_INCLUDE_DIRECTORIES=$packed/usr/include")
  fi
}

build() {
  use_packed
  local root=${TORCH_ROOT:-$(python3 -c 'import importlib.util as u; print(u.find_spec("torch").submodule_search_locations[0])')}
  cmake --preset cuda "-DTORCH_ROOT=$root" "${options[@]}"
  cmake --build build-cuda -j "${JOBS:-$(nproc)}"
}

nccl() {
  use_packed
  cmake -G Ninja -B build-nccl -DCMAKE_BUILD_TYPE=Release -DHYDROFOIL_TORCH=OFF "${options[@]}"
  cmake --build build-nccl -j "${JOBS:-$(nproc)}" --target comm_test
  local nvidia library
  nvidia=$(python3 -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/nvidia
  if [ -d "$nvidia" ]; then
    library=$(find "$nvidia" -name 'libnccl.so.2' | head -1)
    export HYDROFOIL_NCCL_LIBRARY=${HYDROFOIL_NCCL_LIBRARY:-${library:-libnccl.so.2}}
    library=$(find "$nvidia" -name 'libcudart.so.1[23]' | sort | tail -1)
    [ -z "$library" ] || export HYDROFOIL_CUDART_LIBRARY=${HYDROFOIL_CUDART_LIBRARY:-$library}
  fi
  find build-nccl -name comm_test -type f -exec {} --gtest_filter='Nccl.*:*/Nccl*' \;
}

case ${1:-} in
  pack | build | nccl) "$1" ;;
  test) scripts/run_tests.py build-cuda ci ;;
  bench)
    build-cuda/hydrofoil doctor
    build-cuda/hydrofoil bench comm --ranks 2
    ;;
  *) sed -n '2,13s/^# \{0,1\}//p' "$0"; exit 2 ;;
esac
