#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Checks that every public header of one module compiles alone, and twice.

Usage: headers.py INCLUDE_FOLDER ROOM -- COMPILER FLAG...      (ROOM "." means the headers of no module)

What several of them include is precompiled: a header that includes another, itself or through others, sees nothing more
when that one comes first. Each header that is precompiled is checked in its own module.
"""
import functools
import pathlib
import re
import subprocess
import sys
import tempfile

INCLUDE = re.compile(r'^\s*#\s*include\s*["<]([^">]+)[">]', re.MULTILINE)
LIBRARY = 100_000  # bytes that a header of a library counts as


def main():
    split = sys.argv.index("--")
    (include, module), compiler = sys.argv[1:split], sys.argv[split + 1:]
    root = pathlib.Path(include)
    folder = root / "qwq" / module
    headers = sorted(folder.glob("*.hpp") if module == "." else folder.rglob("*.hpp"))

    @functools.cache
    def included(header):
        """All that a header includes of ours and of libraries, which are not looked into."""
        if not header.exists():
            return frozenset()
        direct = [root / name for name in INCLUDE.findall(header.read_text()) if "." in name]
        return frozenset().union(*({h} | included(h) for h in direct))

    @functools.cache
    def cost(header):
        return sum(h.stat().st_size if h.exists() else LIBRARY for h in included(header) | {header})

    # To precompile is worth its cost where more than two headers are compiled for less.
    base = dict.fromkeys(headers)
    saved = lambda h, other: cost(other) - (cost(base[h]) if base[h] else 0)
    while True:
        users = lambda other: [h for h in headers if other in included(h) and saved(h, other) > 0]
        gain = lambda other: sum(saved(h, other) for h in users(other)) - 2 * cost(other)
        best = max({other for h in headers for other in included(h) if other.exists()}, key=lambda h: (gain(h), str(h)), default=None)
        if best is None or gain(best) <= 0:
            break
        base.update(dict.fromkeys(users(best), best))

    failures = 0
    with tempfile.TemporaryDirectory() as scratch:
        for other in sorted(set(base.values()) - {None}):
            first = pathlib.Path(scratch) / f"{len(list(pathlib.Path(scratch).iterdir()))}.hpp"
            first.write_text(f"#include <{other.relative_to(root)}>\n")
            subprocess.run([*compiler, "-x", "c++-header", first, "-o", f"{first}.gch"], check=True)
            base.update({h: first for h, b in base.items() if b == other})
        for header in headers:
            line = f"#include <{header.relative_to(root)}>\n"
            first = ["-include", base[header]] if base[header] else []
            result = subprocess.run([*compiler, "-fsyntax-only", *first, "-x", "c++", "-"], input=line * 2, text=True)
            if result.returncode != 0:
                print(f"{header}: does not compile alone")
                failures += 1
    print(f"{len(headers) - failures} of {len(headers)} headers compile alone")
    return failures != 0 or not headers


if __name__ == "__main__":
    sys.exit(main())
