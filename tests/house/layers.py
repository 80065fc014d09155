#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Checks that the modules include each other only downwards, that heavy dependencies stay in their modules, and how files begin.

Usage: layers.py [--canaries] [REPOSITORY]
"""
import pathlib
import re
import sys
import tempfile

# module: the modules that its row in the design names. What those may include, it may include too.
MAY_INCLUDE = {
    "core": [],
    "graph": ["core"],
    "rewrite": ["graph"],
    "rules": ["rewrite"],
    "kernel": ["core"],
    "quant": ["rewrite", "kernel"],
    "layer": ["graph", "quant"],
    "model": ["layer"],
    "targets": ["rules", "quant"],
    "compile": ["rules", "targets", "model"],
    "exec": ["compile", "kernel"],
    "io": ["core"],
    "text": ["io"],
    "weights": ["io", "quant", "kernel", "model"],
    "runtime": ["exec", "weights", "text"],
    "emit": ["compile", "weights"],
    "report": ["core", "runtime"],
    "distributed": ["quant", "runtime"],
    "cli": ["emit", "report"],  # the command line of an exporter
}

# What an include of a third party begins with, and the modules that may write it.
THIRD_PARTY = {
    "xsimd": (r"xsimd/", ["kernel"]),
    "intrinsics": (r"(immintrin|x86intrin|arm_neon)\.h$", ["kernel"]),
    "xtensor": (r"(xtensor|xtl)/", ["kernel"]),
    "Hana": (r"boost/hana", ["quant", "layer", "model", "cli"]),
    "nlohmann": (r"nlohmann/", ["io", "text", "report", "emit", "cli"]),
    "ICU": (r"unicode/", ["text"]),
    "protobuf": (r"(onnx|google/protobuf)/", ["emit/onnx"]),
    "CLI11": (r"CLI/", ["cli"]),
    "fmt": (r"fmt/", ["report", "cli"]),
    "POSIX": (r"(dirent|fcntl|signal|stdio|unistd|sys/\w+)\.h$", ["io", "report", "runtime", "cli"]),
}

# Rooms that every translation unit pays for, and standard headers that are too heavy for what they reach.
LIGHT_MODULES = ["graph", "rewrite"]
HEAVY_STD = ["filesystem", "fstream", "functional", "iostream", "ranges", "regex", "sstream", "thread"]

# The umbrella header needs no library to link against. With QWQ_WITH_TEXT it has all but what writes models' files.
UMBRELLA = ("qwq/qwq.hpp", ["xsimd", "intrinsics", "xtensor", "Hana", "POSIX"])
WITH_TEXT = re.compile(r"^#ifdef QWQ_WITH_TEXT\n(.*?)^#endif\n", re.MULTILINE | re.DOTALL)
NOT_UNDER_UMBRELLA = ["emit", "cli"]

INCLUDE = re.compile(r'^\s*#\s*include\s*(?:<([^>]+)>|"([^"]+)")', re.MULTILINE)


def closure(start, edges):
    """Everything that can be reached from `start`, itself included."""
    seen, todo = {start}, [start]
    while todo:
        for below in edges[todo.pop()]:
            if below not in seen:
                seen.add(below)
                todo.append(below)
    return sorted(seen)


def third_party(name):
    return next((who for who, (pattern, _) in THIRD_PARTY.items() if re.match(pattern, name)), None)


def check_includes(root, problems):
    include = root / "include"
    headers = {str(path.relative_to(include)): path for path in sorted((include / "qwq").rglob("*.hpp"))}
    generated = {str(path.relative_to(include))[:-len(".fbs")] + "_schema.hpp" for path in include.rglob("*.fbs")}
    own, foreign, std = {}, {}, {}
    for name, path in headers.items():
        source = path.read_text(encoding="utf-8")
        if "#pragma once" not in source:
            problems.append(f"{name}: no #pragma once")
        own[name], foreign[name], std[name] = [], set(), set()
        module = name.split("/")[1] if name.count("/") > 1 else None
        if module and module not in MAY_INCLUDE:
            problems.append(f"{name}: the table of modules has no module '{module}'")
            continue
        for angled, quoted in INCLUDE.findall(source):
            target = angled or quoted
            if quoted and not quoted.startswith("qwq/"):
                problems.append(f"{name}: include \"{quoted}\" must be written from the root, as qwq/...")
            elif target.startswith("qwq/"):
                if target in generated:
                    continue
                if target not in headers:
                    problems.append(f"{name}: includes {target}, which does not exist")
                    continue
                own[name].append(target)
                if not module:
                    continue
                if target.count("/") == 1:
                    problems.append(f"{name}: a module may not include {target}, which is above the modules")
                elif target.split("/")[1] in MAY_INCLUDE and target.split("/")[1] not in closure(module, MAY_INCLUDE):
                    problems.append(f"{name}: {module}/ may not include {target}")
            elif who := third_party(target):
                foreign[name].add(who)
                if not any(name.startswith(f"qwq/{allowed}/") for allowed in THIRD_PARTY[who][1]):
                    problems.append(f"{name}: {who} <{target}> may only be included in {', '.join(THIRD_PARTY[who][1])}")
            elif "." in target or "/" in target:
                problems.append(f"{name}: <{target}> belongs to no known dependency")
            else:
                std[name].add(target)
    check_cycles(own, problems)
    for name in headers:
        if name.split("/")[1] in LIGHT_MODULES:
            for at in closure(name, own):
                for heavy in sorted(std[at] & set(HEAVY_STD)):
                    problems.append(f"{name}: reaches <{heavy}> through {at}, too heavy for this module")
    name, allowed = UMBRELLA
    if name in headers:
        everything = closure(name, own)
        text = {a or b for part in WITH_TEXT.findall(headers[name].read_text(encoding="utf-8"))
                for a, b in INCLUDE.findall(part)}
        for at in closure(name, own | {name: [target for target in own[name] if target not in text]}):
            for who in sorted(foreign[at] - set(allowed)):
                problems.append(f"{name}: reaches {who} through {at}")
        for at in sorted(set(headers) - set(everything)):
            if at.split("/")[1] not in NOT_UNDER_UMBRELLA:
                problems.append(f"{name}: does not reach {at}")


def check_cycles(own, problems):
    done, path = set(), []

    def visit(name):
        if name in path:
            problems.append("cycle: " + " -> ".join(path[path.index(name):] + [name]))
        elif name not in done:
            path.append(name)
            for target in own[name]:
                visit(target)
            path.pop()
            done.add(name)

    for name in own:
        visit(name)


SOURCES = ["include", "tests", "examples", "bench", "cmake", "scripts", "tools", ".ci"]


def check_first_lines(root, problems):
    """Licence on the first line (after an interpreter or a doc type line), a line of purpose on the second."""
    files = [root / "CMakeLists.txt"]
    for folder in SOURCES:
        files += [p for p in sorted((root / folder).rglob("*")) if p.is_file() and "node_modules" not in p.parts]
    for path in files:
        comment = {".hpp": "//", ".cpp": "//", ".mjs": "//", ".in": None, ".py": "#", ".sh": "#", ".cmake": "#"}.get(path.suffix)
        if path.name == "CMakeLists.txt":
            comment = "#"
        if comment is None or not path.exists():
            continue
        lines = [line for line in path.read_text(encoding="utf-8").split("\n")[:4] if not line.startswith("#!")]
        if lines[0] != f"{comment} SPDX-License-Identifier: Apache-2.0":
            problems.append(f"{path.relative_to(root)}: the first line is not the SPDX licence line")
        elif not lines[1].startswith((comment + " ", '"""')):
            problems.append(f"{path.relative_to(root)}: the second line does not say the purpose")


def check_listed(root, problems):
    """A test file that CMake does not know never runs."""
    lists = (root / "tests/CMakeLists.txt").read_text(encoding="utf-8")
    for name, value in re.findall(r"^set\((\w+)\s+([^)]*)\)", lists, re.MULTILINE):
        lists = lists.replace("${" + name + "}", value)
    suites = {}
    for module, body in re.findall(r"qwq_test_suite\((\w+)([^)]*)\)", lists):
        suites.setdefault(module, set()).update(re.split(r"\s+", body.partition("SOURCES")[2].strip()))
    for path in sorted((root / "tests").glob("*/*.cpp")):
        module = path.parent.name
        if module in MAY_INCLUDE and path.stem not in suites.get(module, set()) and f"{module}/{path.name}" not in lists:
            problems.append(f"tests/{module}/{path.name}: not listed in tests/CMakeLists.txt")


def check(root):
    problems = []
    check_includes(root, problems)
    check_first_lines(root, problems)
    check_listed(root, problems)
    return problems


LICENCE = "// SPDX-License-Identifier: Apache-2.0\n// Purpose.\n"
GOOD = {
    "CMakeLists.txt": "# SPDX-License-Identifier: Apache-2.0\n# Purpose.\n",
    "tests/CMakeLists.txt": "# SPDX-License-Identifier: Apache-2.0\n# Purpose.\nqwq_test_suite(core SOURCES a)\n",
    "tests/core/a.cpp": LICENCE,
    "include/qwq/core/a.hpp": LICENCE + "#pragma once\n#include <array>\n",
    "include/qwq/graph/b.hpp": LICENCE + "#pragma once\n#include <qwq/core/a.hpp>\n",
    "include/qwq/kernel/k.hpp": LICENCE + "#pragma once\n#include <xsimd/xsimd.hpp>\n#include <qwq/core/a.hpp>\n",
    "include/qwq/text/i.hpp": LICENCE + "#pragma once\n#include <unicode/ucol.h>\n",
    "include/qwq/qwq.hpp": LICENCE + "#pragma once\n#include <qwq/graph/b.hpp>\n#include <qwq/kernel/k.hpp>\n"
                           "#ifdef QWQ_WITH_TEXT\n#include <qwq/text/i.hpp>\n#endif\n",
}
CANARIES = {  # what is wrong: (file, text, a piece of the complaint)
    "upwards": ("include/qwq/core/c.hpp", LICENCE + "#pragma once\n#include <qwq/graph/b.hpp>\n", "core/ may not include"),
    "sideways": ("include/qwq/graph/c.hpp", LICENCE + "#pragma once\n#include <qwq/kernel/k.hpp>\n", "graph/ may not"),
    "umbrella": ("include/qwq/graph/c.hpp", LICENCE + "#pragma once\n#include <qwq/qwq.hpp>\n", "above the modules"),
    "cycle": ("include/qwq/core/a.hpp", LICENCE + "#pragma once\n#include <qwq/core/a.hpp>\n", "cycle: qwq/core/a.hpp"),
    "foreign": ("include/qwq/graph/c.hpp", LICENCE + "#pragma once\n#include <nlohmann/json.hpp>\n", "nlohmann"),
    "link": ("include/qwq/qwq.hpp", LICENCE + "#pragma once\n#include <qwq/text/i.hpp>\n", "reaches ICU"),
    "outside": ("include/qwq/core/c.hpp", LICENCE + "#pragma once\n", "does not reach qwq/core/c.hpp"),
    "unknown": ("include/qwq/core/c.hpp", LICENCE + "#pragma once\n#include <eigen/core.h>\n", "no known dependency"),
    "relative": ("include/qwq/graph/c.hpp", LICENCE + '#pragma once\n#include "../core/a.hpp"\n', "from the root"),
    "heavy": ("include/qwq/core/a.hpp", LICENCE + "#pragma once\n#include <regex>\n", "graph/b.hpp: reaches <regex>"),
    "module": ("include/qwq/attic/c.hpp", LICENCE + "#pragma once\n", "no module 'attic'"),
    "once": ("include/qwq/core/c.hpp", LICENCE, "no #pragma once"),
    "licence": ("include/qwq/core/c.hpp", "// Purpose.\n#pragma once\n", "SPDX"),
    "purpose": ("include/qwq/core/c.hpp", "// SPDX-License-Identifier: Apache-2.0\n#pragma once\n", "purpose"),
    "unlisted": ("tests/core/b.cpp", LICENCE, "not listed"),
}


def canaries():
    failures = []
    for name, (wrong, text, complaint) in {"none": ("CMakeLists.txt", GOOD["CMakeLists.txt"], None), **CANARIES}.items():
        with tempfile.TemporaryDirectory() as folder:
            for file, content in {**GOOD, wrong: text}.items():
                path = pathlib.Path(folder) / file
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(content, encoding="utf-8")
            found = check(pathlib.Path(folder))
        if complaint is None and found or complaint and not any(complaint in line for line in found):
            failures.append(f"canary {name}: {found or 'accepted'}")
    return failures


def main():
    arguments = sys.argv[1:]
    if "--canaries" in arguments:
        problems = canaries()
    else:
        problems = check(pathlib.Path(arguments[0]) if arguments else pathlib.Path(__file__).resolve().parents[2])
    print("\n".join(problems) or "no problem found")
    return bool(problems)


if __name__ == "__main__":
    sys.exit(main())
