#!/usr/bin/env bash
# What the container runs: serves INDEX, or the index that was built last. The first time, when
# there is none, it builds that of the demo. Arguments go to tools/serve.py.
set -euo pipefail
cd "$(dirname "$0")/.."
if [ -z "${INDEX:-}" ] && [ ! -f run/latest-index ]; then
  scripts/01_get_data.sh mnist5k
  .venv/bin/python tools/demo.py -o run/demo
fi
exec .venv/bin/python tools/serve.py --host 0.0.0.0 ${INDEX:+--index "$INDEX"} "$@"
