#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What Doxygen reads of a header: a comment behind a declaration describes it, and a member without a comment has the
description that docs/glossary.md gives to its name.

Usage: filter.py HEADER
"""
import pathlib
import re
import sys

ROW = re.compile(r"^\| (`[^|]*`) \| (.*) \|$", re.MULTILINE)
BEHIND = re.compile(r"^(?P<code>.*[;,{}])(?P<gap> +)//(/<)? (?!NOLINT|namespace)(?P<said>.*)$")
QUOTED = re.compile(r"\"(\\.|[^\"\\])*\"|'(\\.|[^'\\])'")
CLASS = re.compile(r"^(template <.*> )?(struct|class|union)\b(?!.*[;)]$)")
FIELDS = re.compile(r"^(?P<type>(static |constexpr |inline |const |mutable )*[\w:]+(<.*?>)?[ &*]+)"
                    r"(?P<rest>\w+( = [^,;]+|\{[^,;]*\}|\[\w+\](\{\})?)?(, \w+( = [^,;]+|\{[^,;]*\})?)*);$")
FUNCTION = re.compile(r"(operator(?:\(\)|\[\]|[^\s\w(]+)|~?\w+)\(")


def glossary():
    page = (pathlib.Path(__file__).parent.parent / "glossary.md").read_text(encoding="utf-8")
    meanings = {}
    for names, said in ROW.findall(page):
        for name in re.findall(r"`([^`]+)`", names):
            meanings[name] = said.replace("*", "\\*").replace("\\|", "|")
    return meanings


def declared(code):
    """The name that a line of a class declares; None where it declares none."""
    if code.startswith(("}", ")", ":", "#", "template", "static_assert", "friend class", "return", "public", "private",
                        "protected", "requires", "struct", "class", "enum")):
        return None
    if pointer := re.search(r"\(\*(\w+)\)\(", code):
        return pointer[1]
    if alias := re.match(r"using (\w+) =", code):
        return alias[1]
    function, value = FUNCTION.search(code), re.search(r"(\w+)\s*(\[\w+\])?\s*(=|\{|;)", code)
    if function and (value is None or function.start() <= value.start()):
        return function[1]
    return value[1] if value else None


def described(line, meanings, shared=None):
    """The line with descriptions of what it declares; `shared` is a comment that all fields of the line have."""
    indent, code = re.match(r"(\s*)(.*)", line).groups()
    fields = FIELDS.match(code)
    if fields and ", " in fields["rest"]:
        each = re.split(r", (?=\w+(?: = |\{|,|$))", fields["rest"])
        return indent + " ".join(described(f"{fields['type']}{field};", meanings, shared) for field in each)
    said = shared or meanings.get(declared(code))
    return f"{indent}/** {said} */ {code}" if said else line


def main():
    meanings = glossary()
    scopes, fresh, comment = [], True, ""  # comment: the lines of `///` in front of this one
    for line in pathlib.Path(sys.argv[1]).read_text(encoding="utf-8").split("\n"):
        code = QUOTED.sub('""', line)
        begin = re.search(r"(^|\s)//", code)
        code = (code[:begin.start()] if begin else code).strip()
        behind = BEHIND.match(line)
        several = fresh and (fields := FIELDS.match(code)) and ", " in fields["rest"]
        if several and (comment or behind):
            print(described(behind["code"] if behind else line, meanings, comment or behind["said"]))
        elif behind:
            print(f"{behind['code']}{behind['gap']}///< {behind['said']}")
        elif fresh and scopes and scopes[-1] and not comment:
            print(described(line, meanings))
        else:
            print(line)
        if fresh:
            begins_class = bool(CLASS.match(code))
        for c in code:
            if c == "{":
                scopes.append(begins_class and fresh)
                fresh = True
            elif c == "}":
                if scopes:
                    scopes.pop()
        if code.startswith("template") and code.endswith(">"):
            continue  # what is declared is in the next line, and a comment in front of this one describes it
        if code:
            fresh = code[-1] in ";{}:" and not code.endswith("::")
        said = re.match(r"\s*///(?!<) ?(.*)", line)
        comment = f"{comment} {said[1]}".strip() if said else ""


if __name__ == "__main__":
    main()
