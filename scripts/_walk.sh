# shellcheck shell=bash
# shellcheck disable=SC2034  # the steps use what this sets
# What the steps 02 to 07 share: which data, which network, where things lie.
#
# Each takes the data set's name: data/SET from 01_get_data.sh, or a folder of class folders.
set -euo pipefail
shopt -s inherit_errexit
cd "$(dirname "${BASH_SOURCE[0]}")/.."

walk_usage() {
  cat <<EOF
usage: [NET=lenet] [BITS=48] scripts/${0##*/} [SET]

$1

  SET   mnist5k (default), mnist, cifar10, caltech101, or a folder of class folders
  NET   lenet for digits (default), quick, alexnet, vgg16 or vgg19
  BITS  width of the codes; about 20 for up to a few hundred thousand images, 128 for millions

Results lie in run/<name of SET>. Next: $2
EOF
}

# walk DESCRIPTION NEXT ARGUMENT...: reads the step's arguments.
walk() {
  case ${3:-} in
    -h | --help) walk_usage "$1" "$2"; exit ;;
  esac
  [[ ${3:-} != -* ]] || fail "unknown argument $3; see scripts/${0##*/} --help"
  SET=${3:-mnist5k}
  NET=${NET:-lenet}
  BITS=${BITS:-48}
  PYTHON=.venv/bin/python
  [ -x $PYTHON ] || fail "no .venv - run 'make setup' first"
  RUN=run/$(basename "$SET")
  MODEL=$RUN/${NET}_$BITS
}

fail() {
  printf 'error: %s\n' "$*" >&2
  exit 2
}

# The folder of class folders that SET means.
images_folder() {
  local folder
  for folder in "data/$SET/images" "data/$SET/101_ObjectCategories" "$SET"; do
    if [ -d "$folder" ]; then
      printf '%s\n' "$folder"
      return
    fi
  done
  fail "no data set $SET - run scripts/01_get_data.sh, or give a folder of class folders"
}

# need FILE STEP: stops, naming the step that makes it, if FILE is not there.
need() {
  [ -e "$1" ] || fail "$1 is missing - run scripts/$2 first"
}
