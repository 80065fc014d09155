#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Installs what the tests need, builds everything and runs every test. Usage: test.sh [preset]
set -euo pipefail
cd "$(dirname "$0")/.."

preset=${1-ci}
scripts/install-deps.sh --test
cmake --preset "$preset"
cmake --build --preset "$preset"
ctest --preset "$preset"
