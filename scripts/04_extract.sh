#!/usr/bin/env bash
# Step 4: images to features and codes.
# shellcheck source=scripts/_walk.sh
. "$(dirname "$0")/_walk.sh"
walk "Gives every training image (the database) and every validation image (the queries) a
feature and a binary code." scripts/05_build_index.sh "$@"
need "$RUN/dataset/train.txt" 02_build_lmdb.sh
need "$MODEL/solver.prototxt" 03_train.sh
# The last training run to end has the newest manifest beside its weights.
MANIFEST=$(find "$MODEL" -name '*.caffemodel.json' -printf '%T@ %p\n' | sort -n | tail -n 1 | cut -d' ' -f2-)
need "${MANIFEST:-$MODEL/*.caffemodel}" 03_train.sh
WEIGHTS=${MANIFEST%.json}

IMAGES=$(images_folder)
for PART in train val; do
  $PYTHON tools/extract.py "$RUN/dataset/$PART.txt" --root "$IMAGES" \
    --net "$MODEL/deploy.prototxt" --weights "$WEIGHTS" -o "$MODEL/$PART.h5"
done
