#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Checks that each C++ block of README.md is, word for word, the file that the text in front of it names.

Usage: readme.py REPOSITORY
"""
import pathlib
import re
import sys

repository = pathlib.Path(sys.argv[1])
blocks = re.findall(r"`(examples/[^`]+\.cpp)`:\s*\n```cpp\n(.*?)```", (repository / "README.md").read_text(), re.DOTALL)
if not blocks:
    sys.exit("README.md: expected a block of C++ after the name of its file")
for name, block in blocks:
    source = (repository / name).read_text()
    if block not in source or len(block) < len(source) / 2:
        sys.exit(f"README.md: its block of {name} is not what the file says; paste the file without its first two lines")
print(f"{len(blocks)} blocks are what their files say")
