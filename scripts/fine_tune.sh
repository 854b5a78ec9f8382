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
at last. On CIFAR-10 two hours on two cores, with bfloat16, which needs PyTorch and a
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

# solver STAGE RATE ITERATIONS POLICY: Adam's settings, as text.
solver() {
  local file=$OUT/$1/solver.prototxt
  sed -E "s/^(base_lr): .*/\1: $2/; s/^(max_iter|test_interval): .*/\1: $3/
    s/^snapshot: .*/snapshot: 500/; s/^(random_seed): .*/\1: $1/; s/^lr_policy: .*/$4/
    s|^(snapshot_prefix): .*|\1: \"$OUT/$1/net\"|" "$file" >"$file.part"
  mv "$file.part" "$file"
}

# train STAGE SIZE START RATE ITERATIONS POLICY COPIES CHANGE... -- NET OPTION...
train() {
  local stage=$1 size=$2 start=$3 rate=$4 iterations=$5 policy=$6 copies=$7 state resume=()
  local folder=$OUT/$1 changes=()
  shift 7
  while [ "$1" != -- ]; do changes+=("$1"); shift; done
  shift
  [ ! -e "$folder/net_iter_$iterations.caffemodel" ] || return 0
  mkdir -p "$folder"
  if [ ! -e "$folder/images/mean.binaryproto" ]; then
    say "run $stage: pictures of $size x $size"
    $PYTHON tools/build_lmdb.py "$IMAGES" "$folder/images" --resize "$size" --seed $((stage - 1)) \
      --copies "$copies" --augment "${changes[@]}"
  fi
  $PYTHON tools/make_net.py --net efficientnet_lite0 --bits 48 --size "$size" --force \
    --classes "$(wc -l <"$folder/images/labels.txt")" --data "$folder/images" -o "$folder" "$@" \
    >/dev/null
  solver "$stage" "$rate" "$iterations" "$policy"
  state=$(find "$folder" -name 'net_iter_*.solverstate' | sort -V | tail -1)
  resume=(--weights "$start")
  [ -z "$state" ] || resume=(--resume "$state")
  say "run $stage: $iterations iterations"
  $PYTHON tools/train.py --solver "$folder/solver.prototxt" "${resume[@]}" --precision bfloat16
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
train 1 "$SMALL" "$PRETRAINED" 0.001 "$FIRST" \
  "lr_policy: \"step\"\ngamma: 0.7\nstepsize: $(((FIRST + 2) / 3))" 4 zoom=0.5 colour=0.2 --
train 2 "$LARGE" "$OUT/1/net_iter_$FIRST.caffemodel" 0.0005 "$SECOND" 'lr_policy: "poly"' 1 \
  zoom=0.35 colour=0.2 -- --freeze block2_add

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
