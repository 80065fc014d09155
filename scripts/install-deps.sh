#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Installs the Debian packages that building needs; with --run also what runs emitted files, with --test also what tests
# and benchmarks need.
# What is there already, also by other means (a node that is not Debian's), is left alone.
set -euo pipefail

packages=(
  cmake g++ ninja-build
  libboost-dev libxsimd-dev
  libicu-dev nlohmann-json3-dev
  libonnx-dev libprotobuf-dev
  flatbuffers-compiler libflatbuffers-dev
  libcli11-dev
)
case "${1-}" in
  "") ;;
  --run) packages+=(ca-certificates nodejs npm) ;;
  --test) packages+=(ca-certificates clang-19 clang-format doctest-dev doxygen git libbenchmark-dev libxtensor-dev nodejs npm pkg-config python3) ;;
  *) echo "usage: $0 [--run|--test]" >&2; exit 2 ;;
esac

declare -A command_of=([cmake]=cmake [g++]=g++ [ninja-build]=ninja [clang-19]=clang++-19 [git]=git [nodejs]=node [npm]=npm
                       [python3]=python3)
missing=()
for package in "${packages[@]}"; do
  if [[ -v command_of[$package] ]]; then
    command -v "${command_of[$package]}" >/dev/null || missing+=("$package")
  else
    [[ $(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null) == installed ]] || missing+=("$package")
  fi
done
[[ ${#missing[@]} -gt 0 ]] || exit 0

as_root=()
[[ $(id -u) -eq 0 ]] || as_root=(sudo)
"${as_root[@]}" apt-get update -qq
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${missing[@]}"
