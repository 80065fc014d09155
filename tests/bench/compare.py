#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Checks that every benchmark runs, and what compare.py writes of them. No figure is judged.

Usage: compare.py REPOSITORY SCRATCH BENCHMARK...
"""
import json
import pathlib
import re
import subprocess
import sys
import xml.etree.ElementTree

UNITS = {"GB/s", "GFLOP/s", "GOP/s", "tok/s", "k/s"}
FIELDS = ["kernel", "shape", "threads", "unit", "ours", "limit", "limited_by", "percent_of_limit", "peers"]


def main():
    repository, scratch, *benchmarks = sys.argv[1:]
    script, scratch = pathlib.Path(repository) / "bench" / "compare.py", pathlib.Path(scratch)
    (scratch / "compare.json").unlink(missing_ok=True)
    compare = [sys.executable, script, "--out", scratch]

    subprocess.run([*compare, "--quick", "--first", *benchmarks], check=True)
    result = json.loads((scratch / "compare.json").read_text())
    assert list(result) == ["machine", "rows"] and "processors" in result["machine"], result
    rows = result["rows"]
    assert len(rows) == len(benchmarks), f"expected a row of each benchmark, found {len(rows)}"
    for row in rows:
        assert list(row) == FIELDS and row["unit"] in UNITS, row
        assert re.fullmatch(r"[a-z][a-z0-9_]*", row["kernel"]) and row["shape"] and row["threads"] >= 1, row
        assert row["ours"] > 0 and all(value > 0 for value in row["peers"].values()), row
        assert (row["limit"] is None) == (row["limited_by"] is None), row
        if row["limit"] is not None:
            assert abs(row["percent_of_limit"] * row["limit"] - 100 * row["ours"]) < 0.01 * 100 * row["ours"], row

    # A part is run again and takes the place of its rows.
    one = rows[0]
    pattern = re.escape(f"{one['kernel']}/{one['shape']}/threads:{one['threads']}/")
    subprocess.run([*compare, "--quick", "--merge", "--filter", pattern, *benchmarks], check=True, stdout=subprocess.PIPE)
    merged = json.loads((scratch / "compare.json").read_text())["rows"]
    names = lambda all: [(row["kernel"], row["shape"], row["threads"]) for row in all]
    assert names(merged) == names(rows), names(merged)

    missing = subprocess.run([*compare, "--filter", "no_such_kernel", *benchmarks], stderr=subprocess.PIPE, text=True)
    assert missing.returncode == 1 and missing.stderr == "compare.py: no benchmark matches 'no_such_kernel'\n", missing

    text = (scratch / "compare.txt").read_text()
    assert all(row["kernel"] in text for row in rows), text
    bars = xml.etree.ElementTree.parse(scratch / "compare.svg").getroot()
    assert sum(e.tag.endswith("rect") for e in bars.iter()) >= len(rows)

    readme = scratch / "README.md"
    readme.write_text("before\n<!-- bench/compare.py: begin -->\nold\n<!-- bench/compare.py: end -->\nafter\n")
    subprocess.run([*compare, "--readme", readme], check=True)
    text = readme.read_text()
    assert text.startswith("before\n") and text.endswith("after\n") and "old" not in text and result["machine"] in text, text


main()
