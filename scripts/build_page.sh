#!/usr/bin/env bash
# Builds the page of the web system into web/client/dist; see usage below.
set -euo pipefail
cd "$(dirname "$0")/../web/client"

usage() {
  cat <<'EOF'
usage: scripts/build_page.sh

Builds the page that `make serve` shows, with npm (20 or later of Node.js), unless it is
built already of these sources. Without npm the search runs all the same: its API, and
every tool.
EOF
}

say() { printf '%s\n' "$*"; }

built() {
  [ -f dist/index.html ] && [ -z "$(find . \( -name node_modules -o -name dist \) -prune -o \
    -type f -newer dist/index.html -print -quit)" ]
}

case ${1:-} in
  -h | --help) usage; exit ;;
  '') ;;
  *) say "error: unknown argument $1; see scripts/build_page.sh --help" >&2; exit 2 ;;
esac
if built; then
  exit
fi
if ! command -v npm >/dev/null; then
  say "no npm here: the page of the web system is not built, its API runs (apt-get install npm)"
  exit
fi
say "building the page of the web system"
LOG=$(mktemp)
if { npm ci --no-audit --no-fund && npm run build; } >"$LOG" 2>&1; then
  touch dist/index.html
  rm "$LOG"
else
  tail -n 5 "$LOG" >&2
  say "the page of the web system could not be built, its API runs; npm's output: $LOG" >&2
fi
