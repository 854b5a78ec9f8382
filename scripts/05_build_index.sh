#!/usr/bin/env bash
# Step 5: codes to an index.
# shellcheck source=scripts/_walk.sh
. "$(dirname "$0")/_walk.sh"
walk "Builds the index that tools/search.py asks by default." scripts/06_evaluate.sh "$@"
need "$MODEL/train.h5" 04_extract.sh
$PYTHON tools/build_index.py "$MODEL/train.h5" "$MODEL/index"
