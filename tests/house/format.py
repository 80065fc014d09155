#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Checks that sources are formatted by `.clang-format`, that no line has more than 120 columns, and that no declaration has
two doc comments.

Usage: format.py [--canaries] CLANG_FORMAT [REPOSITORY]
"""
import pathlib
import re
import subprocess
import sys
import tempfile

COLUMNS = 120
FOLDERS = ["include", "examples", "tests", "bench", "cmake"]
BEFORE = re.compile(r"\s*///(?!<)")
BEHIND = re.compile(r".*\S.*///<")


def sources(root):
    return [path for folder in FOLDERS for path in sorted((root / folder).rglob("*.[ch]pp"))]


def check_lines(root, problems):
    for path in sources(root):
        lines = path.read_text(encoding="utf-8").split("\n")
        for i, line in enumerate(lines):
            if len(line) > COLUMNS:
                problems.append(f"{path.relative_to(root)}:{i + 1}: {len(line)} columns, more than {COLUMNS}")
            if i > 0 and BEHIND.match(line) and BEFORE.match(lines[i - 1]) and not line.lstrip().startswith("//"):
                problems.append(f"{path.relative_to(root)}:{i + 1}: a doc comment before and one behind the declaration")


def check_format(root, clang_format, problems):
    result = subprocess.run([clang_format, "--dry-run", "-Werror", *map(str, sources(root))], cwd=root, text=True,
                            capture_output=True)
    for line in result.stderr.split("\n"):
        if "clang-format-violations" in line:
            problems.append(line.replace(f"{root}/", ""))
    if result.returncode and not problems:
        problems.append(result.stderr.strip())


def check(root, clang_format):
    problems = []
    check_lines(root, problems)
    check_format(root, clang_format, problems)
    return problems


GOOD = "/// A number.\nint a = 1;\nint b = 2;  ///< Another one.\n"
CANARIES = {  # what is wrong: (text, a piece of the complaint)
    "format": ("int  a;\n", "clang-format"),
    "columns": ("// " + "x" * COLUMNS + "\n", "columns"),
    "twice": ("/// A number.\nint a = 1;  ///< A number.\n", "before and one behind"),
}


def canaries(clang_format):
    failures = []
    for name, (text, complaint) in {"none": (GOOD, None), **CANARIES}.items():
        with tempfile.TemporaryDirectory() as folder:
            (pathlib.Path(folder) / "include").mkdir()
            (pathlib.Path(folder) / "include/a.hpp").write_text(text, encoding="utf-8")
            (pathlib.Path(folder) / ".clang-format").write_text("BasedOnStyle: Google\nColumnLimit: 120\n")
            found = check(pathlib.Path(folder), clang_format)
        if complaint is None and found or complaint and not any(complaint in line for line in found):
            failures.append(f"canary {name}: {found or 'accepted'}")
    return failures


def main():
    arguments = [a for a in sys.argv[1:] if a != "--canaries"]
    root = pathlib.Path(arguments[1]) if len(arguments) > 1 else pathlib.Path(__file__).resolve().parents[2]
    problems = canaries(arguments[0]) if "--canaries" in sys.argv else check(root, arguments[0])
    print("\n".join(problems) or "no problem found")
    return bool(problems)


if __name__ == "__main__":
    sys.exit(main())
