#!/usr/bin/env bash
# Step 3: LMDBs to a trained network.
# shellcheck source=scripts/_walk.sh
. "$(dirname "$0")/_walk.sh"
walk "Writes the network and trains it by Caffe's solver; nets but lenet and quick start from
the weights that scripts/get_models.sh fetches." scripts/04_extract.sh "$@"
need "$RUN/dataset/labels.txt" 02_build_lmdb.sh

START=()
case $NET in
  alexnet) PRETRAINED=caffenet ;;
  vgg*) PRETRAINED=$NET ;;
  *) PRETRAINED= ;;
esac
if [ -n "$PRETRAINED" ]; then
  FILE=$(sed -n 's/^file: //p' "caffe_models/$PRETRAINED/readme.md")
  need "caffe_models/$PRETRAINED/$FILE" "get_models.sh $PRETRAINED"
  START=(--weights "caffe_models/$PRETRAINED/$FILE")
fi
$PYTHON tools/make_net.py --net "$NET" --bits "$BITS" --force \
  --classes "$(wc -l <"$RUN/dataset/labels.txt")" --data "$RUN/dataset" -o "$MODEL" >/dev/null
$PYTHON tools/train.py --solver "$MODEL/solver.prototxt" --output "$MODEL" "${START[@]}"
