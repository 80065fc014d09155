#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Checks that a program does not compile, and that the compiler says why.

A file of tests/fail holds one program that compiles, and under `#ifdef FAIL` the line that must not:

    // expect: substring of the message        (each such line must be found; also expect-gcc: and expect-clang:)

Usage: check.py FILE -- COMPILER FLAG...
       check.py --canaries -- COMPILER FLAG...   (the harness must see through files that prove nothing)
"""
import os
import re
import subprocess
import sys
import tempfile

MARK = re.compile(r"^// expect(-gcc|-clang)?: (.+?)\s*$", re.MULTILINE)


def run(command):
    environment = dict(os.environ, LC_ALL="C")  # plain quotes in messages
    return subprocess.run(command, env=environment, text=True, errors="replace", capture_output=True)


def compile_file(compiler, path, *defines):
    result = run([*compiler, *defines, "-fsyntax-only", "-x", "c++", path])
    return result.returncode, " ".join(result.stderr.split())


def problem(path, compiler, family):
    """Why the file proves nothing, or None when it proves what it says."""
    with open(path, encoding="utf-8") as file:
        source = file.read()
    expected = [text for only, text in MARK.findall(source) if only in ("", "-" + family)]
    if not expected:
        return f"no `// expect: ...` line for {family}"
    code, said = compile_file(compiler, path)
    if code != 0:
        return f"does not compile without -DFAIL: {said}"
    code, said = compile_file(compiler, path, "-DFAIL")
    if code == 0:
        return "compiles with -DFAIL"
    for text in expected:
        if " ".join(text.split()) not in said:
            return f"expected `{text}`, but the compiler said: {said}"
    return None


CANARIES = {  # name: (proves something?, source)
    "good": (True, '// expect: the message\n#ifdef FAIL\nstatic_assert(sizeof(int) == 1, "the message");\n#endif\n'),
    "good_template": (True, "// expect: missing<7>\ntemplate <int> struct missing;\ntemplate <int I> int f() {\n"
                            "  return missing<I>::value;\n}\n#ifdef FAIL\nint x = f<7>();\n#endif\n"),
    "compiles": (False, '// expect: the message\n#ifdef FAIL\nstatic_assert(true, "the message");\n#endif\n'),
    "twin_broken": (False, '// expect: the message\nstatic_assert(sizeof(int) == 1, "the message");\n'),
    "other_message": (False, '// expect: the message\n#ifdef FAIL\nstatic_assert(sizeof(int) == 1, "another");\n#endif\n'),
    "one_of_two": (False, '// expect: the message\n// expect: and this\n#ifdef FAIL\n'
                          'static_assert(sizeof(int) == 1, "the message");\n#endif\n'),
    "only_echoed": (False, '// expect: the message\n#ifdef FAIL\nint x = undeclared;  // the message\n#endif\n'),
    "expects_nothing": (False, "#ifdef FAIL\nint x = undeclared;\n#endif\n"),
}


def main():
    arguments, compiler = sys.argv[1:sys.argv.index("--")], sys.argv[sys.argv.index("--") + 1:]
    family = "clang" if "clang" in run([compiler[0], "--version"]).stdout else "gcc"
    # The echoed source line is no message.
    compiler += ["-fno-caret-diagnostics" if family == "clang" else "-fno-diagnostics-show-caret"]
    failures = 0
    if arguments == ["--canaries"]:
        with tempfile.TemporaryDirectory() as folder:
            for name, (proves, source) in CANARIES.items():
                path = os.path.join(folder, name + ".cpp")
                with open(path, "w", encoding="utf-8") as file:
                    file.write(source)
                found = problem(path, compiler, family)
                if (found is None) != proves:
                    print(f"canary {name}: {found or 'accepted'}")
                    failures += 1
        return failures != 0
    for path in arguments:
        found = problem(path, compiler, family)
        if found:
            print(f"{path}: {found}")
            failures += 1
    return failures != 0 or not arguments


if __name__ == "__main__":
    sys.exit(main())
