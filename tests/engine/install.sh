#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Installs the engine of one folder from the npm registry, exactly as its lock file says, once. Usage: install.sh FOLDER
set -euo pipefail
cd "$1"

exec 9<package-lock.json
flock 9  # two build trees may test at the same time
cmp -s package-lock.json node_modules/.installed && exit
npm ci --ignore-scripts --no-audit --no-fund
cp package-lock.json node_modules/.installed
