#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""For every scheme and target of an exporter: a dry run says what an export writes, to the byte, and the files verify.

Usage: pairs.py EXPORTER CHECKPOINT CALIBRATION SCHEME/TARGET ...
"""
import json
import pathlib
import subprocess
import sys
import tempfile
import unittest

EXPORTER, CHECKPOINT, CALIBRATION = sys.argv[1:4]
ROWS = pathlib.Path(CALIBRATION).read_text().splitlines(keepends=True)[:2]
# A scheme from outside of the library is chosen by its name, which is that of its type without the namespace.
PAIRS = [pair.split("::")[-1].split("/") for pair in sys.argv[4:]]


def call(*words):
    return subprocess.run([EXPORTER, *map(str, words)], capture_output=True, encoding="utf-8", timeout=600)


class Pairs(unittest.TestCase):
    def test_dry_run(self):
        for scheme, target in PAIRS:
            for granularity in [], ["--per-channel"]:
                with self.subTest(scheme=scheme, target=target, granularity=granularity), \
                        tempfile.TemporaryDirectory() as scratch:
                    out = pathlib.Path(scratch) / "a" / "b"
                    texts = pathlib.Path(scratch) / "texts.jsonl"
                    texts.write_text("".join(ROWS))
                    plan, report = pathlib.Path(scratch) / "plan.json", pathlib.Path(scratch) / "report.json"
                    options = ["export", "--checkpoint", CHECKPOINT, "--scheme", scheme, "--target", target, "--out",
                               out, *granularity]
                    result = call(*options, "--dry-run", "--json", plan)
                    self.assertEqual((result.returncode, result.stderr), (0, ""))
                    self.assertFalse(out.parent.exists())
                    planned = json.loads(plan.read_text())["files"]
                    lines = [line.split() for line in result.stdout.splitlines()]
                    self.assertEqual(lines[:-1], [[str(f["bytes"]), f["name"]] for f in planned])
                    self.assertEqual(lines[-1][0], str(sum(f["bytes"] for f in planned)))

                    result = call(*options, "--verify", "--calibration", texts, "--decode-steps", "4", "--json",
                                  report)
                    self.assertEqual(result.returncode, 0, result.stderr)
                    self.assertIn("verifying 100%", result.stderr)
                    self.assertEqual(json.loads(report.read_text())["files"], planned)
                    found = {str(p.relative_to(out)): p.stat().st_size for p in out.rglob("*") if p.is_file()}
                    self.assertEqual(found, {f["name"]: f["bytes"] for f in planned})


if __name__ == "__main__":
    if not PAIRS:
        sys.exit("no pairs")
    unittest.main(argv=sys.argv[:1])
