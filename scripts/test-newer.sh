#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Builds and runs the tests in a newer Debian, with its compiler and libraries. Needs root and debootstrap.
# Usage: test-newer.sh [SUITE [TESTS...]]: SUITE is trixie or a later one; TESTS are rooms such as kernel, or all.
# The system is made once, in build/<suite>.
set -euo pipefail
cd "$(dirname "$0")/.."

suite=${1-trixie}
rooms=("${@:2}")
root=$PWD/build/$suite
if [[ ! -e $root/made ]]; then
  rm -rf "$root"
  debootstrap --variant=minbase "$suite" "$root" http://deb.debian.org/debian
  touch "$root/made"
fi
trap 'umount "$root/proc"' EXIT
mount -t proc proc "$root/proc"

mkdir -p "$root/qwq"
find "$root/qwq" -mindepth 1 -maxdepth 1 ! -name build -exec rm -rf {} +
git ls-files -z --cached --others --exclude-standard | tar -c --null -T - | tar -x -C "$root/qwq"
if ((${#rooms[@]} == 0)); then
  chroot "$root" /qwq/scripts/test.sh
else
  chroot "$root" bash -s "${rooms[@]}" <<'INSIDE'
set -euo pipefail
cd /qwq
scripts/install-deps.sh --test
cmake --preset ci
cmake --build --preset ci --target "${@/#/test_}"
ctest --preset ci -L "^($(IFS='|'; echo "$*"))\$" -E '^kernel-v|\.alone\.clang'
INSIDE
fi
