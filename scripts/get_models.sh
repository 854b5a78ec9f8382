#!/usr/bin/env bash
# Fetches published weights into caffe_models/<net>/.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/_fetch.sh
. scripts/_fetch.sh

usage() {
  cat <<'EOF'
usage: scripts/get_models.sh caffenet|alexnet|vgg16|vgg19 ...

Fetches the networks' published weights into caffe_models/<net>/ and verifies their
checksums; a broken download goes on where it stopped. Each folder's readme.md says
where the file comes from, its licence, and how images are prepared for it.

  LATENTHASH_MIRROR=URL  take the files from URL/<file name> instead

example:
  scripts/get_models.sh caffenet
EOF
}

case ${1:-} in
  '') usage >&2; exit 2 ;;
  -h | --help) usage; exit ;;
esac
for NET in "$@"; do
  README=caffe_models/$NET/readme.md
  [ -e "$README" ] || die "no network $NET - there are: $(cd caffe_models && echo *)"
  fetch "$(front_matter "$README" url)" "sha1:$(front_matter "$README" sha1)" "caffe_models/$NET"
done
