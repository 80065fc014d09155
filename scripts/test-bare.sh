#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Runs the README's two commands where nothing is installed: bootstraps a minimal Debian into build/bare-<suite>, clones
# what is committed into it, and says which commands passed. Needs root, git and debootstrap.
# Usage: test-bare.sh [SUITE [COMMAND...]]: SUITE is bookworm or a later one; COMMANDs run instead of the README's.
set -euo pipefail
cd "$(dirname "$0")/.."

suite=${1-bookworm}
commands=("${@:2}")
((${#commands[@]} > 0)) || commands=(scripts/quickstart.sh scripts/test.sh)
root=$PWD/build/bare-$suite
rm -rf --one-file-system "$root"
mkdir -p "$root"
debootstrap --variant=minbase "$suite" "$root" http://deb.debian.org/debian
# Behind a proxy that has certificates of its own, downloads need them.
if compgen -G '/usr/local/share/ca-certificates/*.crt' >/dev/null; then
  install -D -m 644 -t "$root/usr/local/share/ca-certificates" /usr/local/share/ca-certificates/*.crt
fi
git clone --quiet --no-hardlinks . "$root/qwq"

# Runs a command in the system, with nothing of this one's environment but its proxies. What it mounts and which
# processes it starts goes when it ends.
inside() {
  local variables=(HOME=/root LANG=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin) name
  for name in http_proxy https_proxy no_proxy; do
    [[ ! -v $name ]] || variables+=("$name=${!name}")
  done
  unshare --mount --pid --fork --kill-child --mount-proc="$root/proc" \
    chroot "$root" env -i "${variables[@]}" bash -c 'cd /qwq && exec $0' "$1"
}

results=()
failed=0
for command in "${commands[@]}"; do
  began=$SECONDS
  result=passed
  inside "$command" || { result=failed; failed=1; }
  results+=("$command: $result in $((SECONDS - began)) s")
done
printf '\n%s\n' "$(git rev-parse --short HEAD) in a bare $suite:"
printf '%s\n' "${results[@]}"
exit $failed
