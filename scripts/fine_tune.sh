#!/usr/bin/env bash
# Makes a hash model of EfficientNet-Lite0; see usage below.
set -euo pipefail
shopt -s inherit_errexit
cd "$(dirname "$0")/.."
IMAGES=${IMAGES:-data/cifar10}
ITERATIONS=${ITERATIONS:-3907 5000}
SIZES=${SIZES:-96 160 160}
OUT=run/fine_tuned
PYTHON=.venv/bin/python

usage() {
  cat <<EOF
usage: [IMAGES=data/cifar10] scripts/fine_tune.sh [OUT]

EfficientNet-Lite0 to a hash model of 48 bits for labelled images: fine-tuned on small
pictures, then, its first layers kept, on larger ones; its latent layer set by ITQ-CCA
at last. On CIFAR-10 1:47 hours on two cores, with bfloat16, which needs PyTorch and a
processor that has it to be fast. OUT ($OUT) gets the net, its weights and how images
are prepared for them. Run it again to go on after an interruption: what is finished stays.

  IMAGES      folder of class folders, or of train/ and test/ with class folders in them
  ITERATIONS  of both runs, in batches of 64 ("$ITERATIONS"); about five times the images
  SIZES       of the pictures in both runs, and for the codes ("$SIZES")
EOF
}

say() { printf '%s  %s\n' "$(date +%H:%M)" "$*"; }

# begin: makes OUT; of other settings it holds nothing that could be gone on with.
begin() {
  local settings="IMAGES=$IMAGES ITERATIONS=$ITERATIONS SIZES=$SIZES" begun
  begun=$(cat "$OUT/settings" 2>/dev/null || printf %s "$settings")
  if [ "$begun" != "$settings" ]; then
    printf 'error: %s was begun with %s; set these, or name another OUT\n' "$OUT" "$begun" >&2
    exit 2
  fi
  mkdir -p "$OUT"
  printf '%s\n' "$settings" >"$OUT/settings"
}

# images FOLDER SIZE SEED: its LMDBs.
images() {
  local augment
  [ ! -e "$1/images/mean.binaryproto" ] || return 0
  say "pictures of $2 x $2"
  read -ra augment <<<"$CHANGES"
  $PYTHON tools/build_lmdb.py "$IMAGES" "$1/images" --resize "$2" --seed "$3" \
    --copies "$COPIES" --augment "${augment[@]}"
}

# solver FOLDER SEED ITERATIONS: Adam's settings, as text.
solver() {
  sed -E "s/^(base_lr): .*/\1: $RATE/; s/^(max_iter|test_interval): .*/\1: $3/
    s/^snapshot: .*/snapshot: 500/; s/^(random_seed): .*/\1: $2/; s/^lr_policy: .*/$POLICY/
    s|^(snapshot_prefix): .*|\1: \"$1/net\"|" "$1/solver.prototxt" >"$1/solver.part"
  mv "$1/solver.part" "$1/solver.prototxt"
}

# train RUN SIZE ITERATIONS START NET-OPTION...: one run, from the weights START, at RATE by
# POLICY, on each image and COPIES of it with CHANGES.
train() {
  local run=$1 size=$2 iterations=$3 folder=$OUT/$1 start=(--weights "$4") state
  shift 4
  [ ! -e "$folder/net_iter_$iterations.caffemodel" ] || return 0
  mkdir -p "$folder"
  images "$folder" "$size" $((run - 1))
  $PYTHON tools/make_net.py --net efficientnet_lite0 --bits 48 --size "$size" --force \
    --classes "$(wc -l <"$folder/images/labels.txt")" --data "$folder/images" -o "$folder" "$@" \
    >/dev/null
  solver "$folder" "$run" "$iterations"
  state=$(find "$folder" -name 'net_iter_*.solverstate' | sort -V | tail -1)
  [ -z "$state" ] || start=(--resume "$state")
  say "run $run: $iterations iterations"
  $PYTHON tools/train.py --solver "$folder/solver.prototxt" "${start[@]}" --precision bfloat16
}

# card FILE: how images are prepared, for tools/extract.py.
card() {
  cat <<EOF
---
name: EfficientNet-Lite0 with a latent layer of 48 bits
file: $1
licence: Apache-2.0
input: $SIZE
resize: $SIZE
mean: 127 127 127
scale: 0.0078125
feature: pool
bits: 48
dim: 1280
---
EOF
}

case ${1:-} in
  -h | --help) usage; exit ;;
  -*) printf 'error: unknown argument %s; see scripts/fine_tune.sh --help\n' "$1" >&2; exit 2 ;;
esac
OUT=${1:-$OUT}
read -r FIRST SECOND <<<"$ITERATIONS"
read -r SMALL LARGE SIZE <<<"$SIZES"
PRETRAINED=caffe_models/efficientnet_lite0/efficientnet_lite0_bn.caffemodel
[ -e "$PRETRAINED" ] || scripts/get_models.sh efficientnet_lite0
[ -d "$IMAGES" ] || scripts/01_get_data.sh "$(basename "$IMAGES")"

begin
RATE=0.001 POLICY="lr_policy: \"step\"\ngamma: 0.7\nstepsize: $(((FIRST + 2) / 3))" \
  COPIES=4 CHANGES="zoom=0.5 colour=0.2" \
  train 1 "$SMALL" "$FIRST" "$PRETRAINED"
RATE=0.0005 POLICY='lr_policy: "poly"' COPIES=1 CHANGES="zoom=0.35 colour=0.2" \
  train 2 "$LARGE" "$SECOND" "$OUT/1/net_iter_$FIRST.caffemodel" --freeze block2_add

NAME=$(basename "$OUT")
FOLD=(tools/import_weights.py caffe "$OUT/2/net_iter_$SECOND.caffemodel" --mirrored --half
  --net "$OUT/shape.prototxt")
sed "s/dim: $LARGE/dim: $SIZE/" "$OUT/2/deploy.prototxt" >"$OUT/shape.prototxt"
say "the latent layer"
mkdir -p "$OUT/trained"
card trained.caffemodel.h5 >"$OUT/trained/readme.md"
$PYTHON "${FOLD[@]}" --fold "$OUT/trained/deploy.prototxt" -o "$OUT/trained/trained.caffemodel.h5"
TRAIN=$IMAGES
[ ! -d "$IMAGES/train" ] || TRAIN=$IMAGES/train
$PYTHON tools/extract.py "$TRAIN" --net "$OUT/trained/deploy.prototxt" \
  --weights "$OUT/trained/trained.caffemodel.h5" --precision bfloat16 -o "$OUT/trained/train.h5"
card "$NAME.caffemodel.h5" >"$OUT/readme.md"
$PYTHON "${FOLD[@]}" --fold "$OUT/deploy.prototxt" -o "$OUT/$NAME.caffemodel.h5" \
  --latent itq-cca --codes "$OUT/trained/train.h5"
say "next: tools/extract.py DIR --net $OUT/deploy.prototxt --weights $OUT/$NAME.caffemodel.h5 -o OUT"
