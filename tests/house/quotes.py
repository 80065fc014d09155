#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Checks that what README.md and docs/*.md quote is, word for word, what the quoted file says.

A block of C++, and any other block with such a line in front of it, says where it is from:

    <!-- from examples/new_rule/main.cpp -->        (or: `examples/one_page/main.cpp`:)

C++ is quoted from files that are compiled: headers, tests and examples. Usage: quotes.py [--canaries] [REPOSITORY]
"""
import pathlib
import re
import sys

FENCE = re.compile(r"(?P<before>[^\n]*)\n+(?P<fence>```+)(?P<language>\w*)\n(?P<block>.*?)(?P=fence)[ \t]*$",
                   re.DOTALL | re.MULTILINE)
SOURCE = re.compile(r"<!-- from (?P<comment>\S+) -->$|`(?P<text>examples/[^`]+\.cpp)`:$")
COMPILED = re.compile(r"(include/qwq/.*\.hpp|(tests|examples)/.*\.[ch]pp)$")


def check_page(name, page, read):
    """Complaints about one page, and the files that it quotes; `read` returns the text of a file, or None."""
    problems, sources = [], []
    for found in FENCE.finditer("\n" + page):
        line = page.count("\n", 0, found.start("block") - 1)
        source = SOURCE.search(found["before"].strip())
        if source is None:
            if found["language"] in ("cpp", "c++"):
                problems.append(f"{name}:{line}: expected the file that this C++ is from, found none")
            continue
        file = source["comment"] or source["text"]
        text = read(file)
        if found["language"] in ("cpp", "c++") and not COMPILED.match(file):
            problems.append(f"{name}:{line}: expected C++ from a header, a test or an example, found {file}")
        elif text is None:
            problems.append(f"{name}:{line}: expected a file of the repository, found {file}")
        elif not found["block"].strip() or "\n" + found["block"] not in "\n" + text:
            problems.append(f"{name}:{line}: this block is not, line by line, what {file} says")
        sources.append(file)
    return problems, sources


def check(root):
    def read(file):
        path = root / file
        return path.read_text(encoding="utf-8") if path.is_file() else None

    problems, sources = [], []
    for page in [root / "README.md", *sorted((root / "docs").glob("*.md"))]:
        found = check_page(str(page.relative_to(root)), page.read_text(encoding="utf-8"), read)
        problems += found[0]
        sources += found[1]
    for example in sorted((root / "examples").glob("*/main.cpp")):
        folder = str(example.parent.relative_to(root)) + "/"
        if not any(source.startswith(folder) for source in sources):
            problems.append(f"{folder}: no page quotes it")
    return problems, sources


CANARIES = {  # what is wrong: (page, a piece of the complaint or None)
    "good": ("<!-- from tests/a.cpp -->\n```cpp\nint b;\nint c;\n```\n", None),
    "named in text": ("`examples/a.cpp`:\n\n```cpp\nint a;\n```\n", None),
    "output": ("<!-- from tests/a.txt -->\n```\n1\n```\n", None),
    "shell": ("```sh\nls\n```\n", None),
    "no source": ("Text:\n```cpp\nint a;\n```\n", "page.md:2: expected the file"),
    "changed": ("<!-- from tests/a.cpp -->\n```cpp\nint d;\n```\n", "line by line"),
    "part of a line": ("<!-- from tests/a.cpp -->\n```cpp\nt b;\n```\n", "line by line"),
    "empty": ("<!-- from tests/a.cpp -->\n```cpp\n\n```\n", "line by line"),
    "missing file": ("<!-- from tests/b.cpp -->\n```cpp\nint a;\n```\n", "a file of the repository"),
    "not compiled": ("<!-- from docs/a.cpp -->\n```cpp\nint a;\n```\n", "from a header"),
    "second block": ("```sh\nls\n```\n\n```cpp\nint a;\n```\n", "expected the file"),
    "output changed": ("<!-- from tests/a.txt -->\n```\n2\n```\n", "line by line"),
}


def canaries():
    source = "int a;\nint b;\nint c;\n"
    files = {"tests/a.cpp": source, "examples/a.cpp": source, "docs/a.cpp": source, "tests/a.txt": "1\n"}
    failures = []
    for name, (page, complaint) in CANARIES.items():
        found, _ = check_page("page.md", page, files.get)
        if complaint is None and found or complaint and not any(complaint in line for line in found):
            failures.append(f"canary {name}: {found or 'accepted'}")
    return failures


def main():
    if "--canaries" in sys.argv:
        problems, done = canaries(), f"{len(CANARIES)} canaries"
    else:
        problems, sources = check(pathlib.Path(sys.argv[1]))
        done = f"{len(sources)} blocks are what their files say"
    print("\n".join(problems) or done)
    return bool(problems)


if __name__ == "__main__":
    sys.exit(main())
