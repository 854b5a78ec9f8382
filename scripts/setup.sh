#!/usr/bin/env bash
# Sets up everything that LatentHash needs; see usage below.
set -euo pipefail
shopt -s inherit_errexit
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-/usr/bin/python3}
VENV_PYTHON=.venv/bin/python

usage() {
  cat <<EOF
usage: [PYTHON=/usr/bin/python3] scripts/setup.sh

Installs what is missing: system packages (apt-get, as root or through sudo), a
virtual environment in .venv with pinned Python packages, PyTorch for CPUs where
it can be had, and Caffe, built once
into ~/.cache/latenthash (see scripts/build_caffe.sh --help). Running it again is
harmless and quick. LATENTHASH_CAFFE=PREFIX uses a Caffe that you built yourself,
TORCH=cuda PyPI's PyTorch for NVIDIA's GPUs (several GB), EXTRAS=web,hash other
optional parts of pyproject.toml than those that the tests want.
EOF
}

say() { printf '%s\n' "$*"; }

packages() { grep -v '^#' scripts/packages.txt; }

missing_packages() {
  local package
  for package in $(packages); do
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] ||
      say "$package"
  done
}

# Prints the command that gives root's rights, empty for root; fails if there is none.
as_root() {
  if [ "$(id -u)" = 0 ]; then
    return
  elif sudo -n true 2>/dev/null; then
    say sudo
  else
    return 1
  fi
}

system_packages() {
  local missing root log
  if ! command -v dpkg-query >/dev/null; then
    say "This is neither Debian nor Ubuntu: install by hand what is missing of these packages" \
      "(Debian's names); set-up goes on and stops where it needs one:"
    packages | sed 's/^/  /'
    return
  fi
  mapfile -t missing < <(missing_packages)
  [ ${#missing[@]} -gt 0 ] || return 0
  if ! root=$(as_root); then
    {
      say "error: these system packages are missing, and installing them needs root's rights:"
      printf '  %s\n' "${missing[@]}"
      say "Install them, then run 'make setup' again:"
      say "  sudo apt-get update"
      say "  sudo apt-get install --no-install-recommends ${missing[*]}"
    } >&2
    exit 2
  fi
  say "installing ${#missing[@]} system packages: about a minute"
  log=$(mktemp)
  if ! { $root apt-get update && $root env DEBIAN_FRONTEND=noninteractive apt-get install -y \
    -o DPkg::Lock::Timeout=300 --no-install-recommends "${missing[@]}"; } >"$log" 2>&1; then
    tail -n 15 "$log" >&2
    say "error: apt-get failed; its whole output: $log" >&2
    exit 1
  fi
  rm "$log"
}

# True if .venv works and is of the Python asked for.
venv_fits() {
  local version='import sys; print(sys.version_info[:3])'
  [ -x $VENV_PYTHON ] && $VENV_PYTHON -m pip --version >/dev/null 2>&1 &&
    [ "$($VENV_PYTHON -c "$version")" = "$("$PYTHON" -c "$version")" ]
}

virtual_environment() {
  if ! "$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 10))'; then
    say "error: $PYTHON is missing or older than 3.10 - name another: make setup PYTHON=..." >&2
    exit 2
  fi
  venv_fits || "$PYTHON" -m venv --clear .venv
  say "installing Python packages into .venv: about a minute the first time"
  $VENV_PYTHON -m pip install -q --disable-pip-version-check \
    -c scripts/constraints.txt -e ".[${EXTRAS:-test,lint,caffe,baselines,web,docs}]"
}

# PyPI's build for Linux brings several GB of CUDA along.
pytorch() {
  local version=2.13.0
  local installed="from importlib.metadata import version; print(version('torch').split('+')[0])"
  [ "$($VENV_PYTHON -c "$installed" 2>/dev/null)" != $version ] || return 0
  if [ "${TORCH:-cpu}" = cuda ]; then
    $VENV_PYTHON -m pip install -q --disable-pip-version-check \
      -c scripts/constraints.txt "torch==$version"
    return
  fi
  $VENV_PYTHON -m pip install -q --disable-pip-version-check --retries 1 \
    -c scripts/constraints.txt \
    --extra-index-url https://download.pytorch.org/whl/cpu "torch==$version+cpu" ||
    say "PyTorch's build for CPUs could not be had: its tests will be skipped"
}

caffe() {
  if [ -n "${LATENTHASH_CAFFE:-}" ]; then
    say "using the Caffe in LATENTHASH_CAFFE=$LATENTHASH_CAFFE"
  else
    scripts/build_caffe.sh
  fi
}

case ${1:-} in
  -h | --help) usage; exit ;;
  '') ;;
  *) say "error: unknown argument $1; see scripts/setup.sh --help" >&2; exit 2 ;;
esac
rm -f .venv/ready
system_packages
virtual_environment
pytorch
caffe
scripts/build_page.sh
touch .venv/ready
say "set-up is complete after $((SECONDS / 60)) min $((SECONDS % 60)) s"
