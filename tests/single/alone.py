#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Compiles qwq.hpp alone, twice in a unit, without warnings, and checks that it reads xsimd and Hana and nobody else's headers.

Usage: alone.py FOLDER -- COMPILER FLAG...
"""
import pathlib
import re
import subprocess
import sys

WARNINGS = ["-Wall", "-Wextra", "-Wpedantic", "-Werror"]
# What is read may be ours, the compiler's, the C library's or the kernel's: those are files of the include folders that
# are in no package's own folder.
ALLOWED = re.compile(r"(xsimd|xtensor|xtl|boost/hana)/")
SYSTEM = re.compile(r"(c\+\+|bits|sys|gnu|asm|asm-generic|linux|[^/]+-linux-gnu[^/]*)/|[^/]+$")


def compile_it(command, text):
    result = subprocess.run([*command, "-x", "c++", "-"], input=text, text=True, stdout=subprocess.PIPE)
    if result.returncode != 0:
        sys.exit(f"qwq.hpp: {command[0]} refuses it alone")
    return result.stdout


def main():
    split = sys.argv.index("--")
    folder, compiler = pathlib.Path(sys.argv[1]).resolve(), sys.argv[split + 1:]
    base = [*compiler, "-std=c++20", f"-I{folder}"]
    unit = "#include <qwq.hpp>\n#include <qwq.hpp>\n"
    compile_it([*base, *WARNINGS, "-fsyntax-only"], unit)

    read = compile_it([*base, "-M"], unit).replace("\\\n", " ").split()[1:]
    names = set()
    for file in (pathlib.Path(name).resolve() for name in read if name != "-"):
        if folder in file.parents:
            names.add(str(file.relative_to(folder)))
            continue
        _, found, rest = str(file).rpartition("/include/")
        if not found or SYSTEM.match(rest) or "/lib/" in str(file):
            continue
        if not ALLOWED.match(rest):
            sys.exit(f"qwq.hpp: expected to need xsimd, xtensor and Hana, found that it reads {file}")
        names.add(ALLOWED.match(rest)[1])
    if not names >= {"qwq.hpp", "xsimd", "boost/hana"}:
        sys.exit(f"qwq.hpp: expected itself, xsimd and Hana among what is read, found {sorted(names)}")
    print("read: " + ", ".join(sorted(names)))


main()
