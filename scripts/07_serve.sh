#!/usr/bin/env bash
# Step 7: the page and the API over the index.
# shellcheck source=scripts/_walk.sh
. "$(dirname "$0")/_walk.sh"
walk "Serves the index of step 5 on this machine, at PORT (8000): browse, click, upload, find." \
  "the address that it says, in a browser" "$@"
need "$MODEL/index/manifest.json" 05_build_index.sh
exec $PYTHON tools/serve.py --index "$MODEL/index" --port "${PORT:-8000}"
