#!/usr/bin/env bash
# Builds the documentation's site; see usage below.
set -euo pipefail
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-.venv/bin/python}

usage() {
  cat <<'EOF'
usage: scripts/build_docs.sh [--tools | --pictures | DIR]

Builds the documentation into DIR (default: site) and fails at any dead link, page that the
menu lacks, or page of the tools that is out of date. Needs pip install '.[docs]', and no
network. Read it with: python -m http.server -d site

  --tools     write docs/reference/tools.md anew, from each tool's --help
  --pictures  draw docs/images/method anew, from what `make demo` made
EOF
}

say() { printf '%s\n' "$*"; }

case ${1:-} in
  -h | --help) usage; exit ;;
  --tools) exec "$PYTHON" scripts/_tool_reference.py ;;
  --pictures) exec "$PYTHON" scripts/_draw_method.py ;;
  -*) say "error: unknown argument $1; see scripts/build_docs.sh --help" >&2; exit 2 ;;
esac
if ! "$PYTHON" -c 'import material, mkdocs, mkdocstrings_handlers.python' 2>/dev/null; then
  say "error: MkDocs is not installed - pip install '.[docs]' (Python 3.11 or newer)" >&2
  exit 2
fi
"$PYTHON" scripts/_tool_reference.py --check
# The notice that Material prints is of its own future, and no warning of these pages.
NO_MKDOCS_2_WARNING=1 "$PYTHON" -m mkdocs build --strict --site-dir "$(realpath -m "${1:-site}")"
say "documentation in ${1:-site}"
