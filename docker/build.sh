#!/usr/bin/env bash
# Builds what the image holds; see usage below.
set -euo pipefail
shopt -s inherit_errexit
cd "$(dirname "$0")/.."
BACKEND=${BACKEND:-cpu}
TORCH=cpu
OPTIONS=()

usage() {
  cat <<'EOT'
usage: [BACKEND=cpu|cuda|cuda-legacy] docker/build.sh

Sets this tree up on a bare Debian 12, as root, the way an image holds it: Python packages in
.venv, Caffe in /opt/caffe. The Dockerfile runs it; so does a test, in a chroot.

  BACKEND=cpu          Caffe and PyTorch for CPUs
  BACKEND=cuda         for NVIDIA's GPUs, Turing and later, too
  BACKEND=cuda-legacy  Caffe with CUDA 10.2 and cuDNN 7, for Kepler to Volta; PyTorch for CPUs
  CUDA_ARCH=LIST       the GPUs that Caffe is compiled for, as '75;90'
  EXTRAS=a,b,c         optional parts of pyproject.toml
  CAFFE_TO=/opt/caffe  where Caffe goes
EOT
}

case ${1:-} in
  -h | --help) usage; exit ;;
esac
CAFFE_TO=${CAFFE_TO:-/opt/caffe}
POINTER=.venv/caffe-prefix-cuda
case $BACKEND in
  cpu) POINTER=.venv/caffe-prefix ;;
  cuda)
    TORCH=cuda
    # Code for 8.0 runs on 8.6 and 8.9 as well.
    OPTIONS=(--cuda --arch "${CUDA_ARCH:-75;80;90;100;120}")
    ;;
  cuda-legacy)
    docker/cuda_legacy.sh
    export CUDA_HOME=/usr/local/cuda-10.2 CXX=g++-8 CUDAHOSTCXX=g++-8
    OPTIONS=(--cuda --cudnn --arch "${CUDA_ARCH:-30;35;50;60;70}")
    ;;
  *)
    printf 'error: BACKEND=%s: give cpu, cuda or cuda-legacy\n' "$BACKEND" >&2
    exit 2
    ;;
esac

# Set-up leaves Caffe alone where one is named: which one is built, is said here.
LATENTHASH_CAFFE=$CAFFE_TO TORCH=$TORCH EXTRAS=${EXTRAS:-web,hash,milvus} scripts/setup.sh
scripts/build_caffe.sh "${OPTIONS[@]}"
rm -rf "$CAFFE_TO"
cp -a "$(cat $POINTER)" "$CAFFE_TO"
docker/runtime_packages.sh "$CAFFE_TO" >"$CAFFE_TO/share/packages.txt"
