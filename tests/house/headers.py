#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Checks that every public header of one room compiles alone, and twice.

Usage: headers.py INCLUDE_FOLDER ROOM -- COMPILER FLAG...      (ROOM "." means the headers of no room)
"""
import pathlib
import subprocess
import sys


def main():
    split = sys.argv.index("--")
    (include, room), compiler = sys.argv[1:split], sys.argv[split + 1:]
    root = pathlib.Path(include)
    folder = root / "qwq" / room
    headers = sorted(folder.glob("*.hpp") if room == "." else folder.rglob("*.hpp"))
    failures = 0
    for header in headers:
        line = f"#include <{header.relative_to(root)}>\n"
        result = subprocess.run([*compiler, "-fsyntax-only", "-x", "c++", "-"], input=line * 2, text=True)
        if result.returncode != 0:
            print(f"{header}: does not compile alone")
            failures += 1
    print(f"{len(headers) - failures} of {len(headers)} headers compile alone")
    return failures != 0 or not headers


if __name__ == "__main__":
    sys.exit(main())
