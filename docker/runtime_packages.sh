#!/usr/bin/env bash
# Prints Debian's packages of the libraries that the Caffe in a folder is linked with, one a line.
#
#   docker/runtime_packages.sh /opt/caffe
set -euo pipefail
shopt -s inherit_errexit
PREFIX=$1

# Names of the libraries that Caffe's files ask for and its own folder does not hold.
needed() {
  local name
  objdump -p "$PREFIX"/bin/* "$PREFIX/lib/libcaffe.so" "$PREFIX/python/caffe/_caffe.so" |
    awk '$1 == "NEEDED" { print $2 }' | sort -u | while read -r name; do
      [ -e "$PREFIX/lib/$name" ] || printf '%s\n' "$name"
    done
}

NAMES=$(needed)
KNOWN=$(ldconfig -p)
FILES=()
for NAME in $NAMES; do
  FILE=$(awk -v name="$NAME" '$1 == name { print $NF; exit }' <<<"$KNOWN")
  [ -n "$FILE" ] || { printf 'error: no %s on this system\n' "$NAME" >&2; exit 1; }
  # By its name alone: packages say /lib where the file is seen in /usr/lib.
  FILES+=("*/$(basename "$(realpath "$FILE")")")
done
dpkg-query -S "${FILES[@]}" | sed 's/:.*//' | sort -u
