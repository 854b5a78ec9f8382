#!/usr/bin/env bash
# Step 6: how good the codes are.
# shellcheck source=scripts/_walk.sh
. "$(dirname "$0")/_walk.sh"
walk "Ranks the database for every query by its code alone, and measures." \
  "tools/search.py IMG, or scripts/07_serve.sh" "$@"
need "$MODEL/val.h5" 04_extract.sh
$PYTHON tools/evaluate.py --codes "$MODEL/train.h5" --queries "$MODEL/val.h5"
