#!/usr/bin/env bash
# Step 2: images to LMDBs and mean.
# shellcheck source=scripts/_walk.sh
. "$(dirname "$0")/_walk.sh"
# shellcheck source=scripts/_fetch.sh
. scripts/_fetch.sh
walk "Turns an image set into what Caffe trains on: LMDBs, mean, labels, a report." \
  scripts/03_train.sh "$@"

# Sets that come as arrays become files first, so that each image can be looked at and searched.
README=data/$SET/readme.md
ARRAYS=$([ ! -e "$README" ] || front_matter "$README" arrays)
if [ -n "$ARRAYS" ] && [ ! -d "data/$SET/images" ]; then
  say "writing the images of $SET as files to data/$SET/images"
  rm -rf "data/$SET/images.part"
  $PYTHON scripts/_to_class_folders.py "data/$SET/$ARRAYS" "data/$SET/images.part"
  mv "data/$SET/images.part" "data/$SET/images"
fi

IMAGES=$(images_folder)
read -r SIZE CHANNELS < <($PYTHON -c "from latenthash.nets import NETS
net = NETS['$NET']
print(net.resize, '--gray' if net.channels == 1 else '--colour')")
$PYTHON tools/build_lmdb.py "$IMAGES" "$RUN/dataset" --resize "$SIZE" "$CHANNELS"
