#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""When CMake configures, configs are refused with the line that exporters print, and nothing else.

Usage: check_config.py CHECK_CONFIG TESTS_DATA, where CHECK_CONFIG is the program that qwq_add_exporter has built.
"""
import json
import pathlib
import subprocess
import sys
import tempfile

PROGRAM, DATA = sys.argv[1], pathlib.Path(sys.argv[2])


def text_of(row):
    if "text" in row:
        return row["text"]
    config = json.loads((DATA / "arch/qwen3-dense-tied" / row["of"]).read_text())
    return json.dumps({**config, **row["change"]})


def main():
    cases = json.loads((DATA / "config/cases.json").read_text())
    failures = []
    with tempfile.TemporaryDirectory() as scratch:
        file = pathlib.Path(scratch) / "config.json"
        for row in cases["refused"] + cases["accepted"] + [{"text": None, "refused": "cannot read"}]:
            if row.get("text", "") is None:
                file.unlink()
            else:
                file.write_text(text_of(row), encoding="utf-8")
            result = subprocess.run([PROGRAM, file], capture_output=True, encoding="utf-8")
            expected = f"{file}: {row['refused']}\n" if "refused" in row else ""
            if (result.returncode, result.stdout, result.stderr) != (int("refused" in row), "", expected):
                failures.append(f"{row}: {result.returncode} {result.stdout}{result.stderr}")
    print("\n".join(failures) or f"{len(cases['refused'])} refused, {len(cases['accepted'])} accepted")
    return bool(failures)


if __name__ == "__main__":
    sys.exit(main())
