#!/usr/bin/env bash
# Puts CUDA 10.2, cuDNN 7 and the last g++ that they take onto a Debian 12, as root. NVIDIA's
# images of them are gone; the files, and Debian 10's compiler in its archive, are not.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/_fetch.sh
. scripts/_fetch.sh
HOME_OF_CUDA=/usr/local/cuda-10.2
FILES=${XDG_CACHE_HOME:-$HOME/.cache}/latenthash/cuda-10.2
NVIDIA=https://developer.download.nvidia.com/compute
TOOLKIT=$NVIDIA/cuda/10.2/Prod/local_installers/cuda_10.2.89_440.33.01_linux.run
CUDNN=$NVIDIA/redist/cudnn/v7.6.5/cudnn-10.2-linux-x64-v7.6.5.32.tgz

export DEBIAN_FRONTEND=noninteractive
KEYS=/usr/share/keyrings/debian-archive-removed-keys.gpg
echo "deb [signed-by=$KEYS] http://archive.debian.org/debian buster main" \
  >/etc/apt/sources.list.d/buster.list
apt-get update
apt-get install -y --no-install-recommends ca-certificates curl g++-8 libxml2

fetch "$TOOLKIT" sha256:560d07fdcf4a46717f2242948cd4f92c5f9b6fc7eae10dd996614da913d5ca11 "$FILES"
fetch "$CUDNN" sha256:600267f2caaed2fd58eb214ba669d8ea35f396a7d19b94822e6b36f9f7088c20 "$FILES"
sh "$FILES/${TOOLKIT##*/}" --silent --override --toolkit --installpath=$HOME_OF_CUDA
tar -xzf "$FILES/${CUDNN##*/}" -C $HOME_OF_CUDA --strip-components=1
