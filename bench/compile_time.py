#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Measures what it costs to compile qwq: CPU seconds (user) and peak memory of the compiler, best of three, or of one
run where it takes more than ten seconds.

Fails when the depth of a model costs compile time (94 layers against 1), or when a part of an exporter needs more than
60 s or 2.5 GB.

Usage: compile_time.py [--compiler g++] [--flags="-I... -D..."] [--exporter PART.cpp ...]
"""
import argparse
import os
import pathlib
import shlex
import sys
import tempfile

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent
RUNS, LONG_S = 3, 10.0
DEPTH_FACTOR, DEPTH_SLACK_S = 1.3, 0.1
PART_LIMIT_S, PART_LIMIT_MB = 60.0, 2500.0

BLOCK = """#include <qwq/model/qwen3.hpp>
#include <qwq/rewrite/rewrite.hpp>
#include <qwq/targets/onnx_winml.hpp>
using namespace qwq;
inline constexpr qwen3_config config = [] {{
  qwen3_config c = configs::qwen3_0_6b;
  c.num_hidden_layers = {layers};
  return c;
}}();
struct block {{
  static constexpr auto result = rewrite(qwen3<config>::decoder_layer<64, dtype::f16>::value, onnx_winml::rules);
}};
static_assert(must_apply<block, "attention_to_gqa", 1>());
static_assert(require_none<block::result.value.error>());
"""

COMPILED = """#include <qwq/lower/compiled.hpp>
#include <qwq/model/qwen3.hpp>
#include <qwq/targets/onnx_winml.hpp>
using namespace qwq;
using block = compiled<qwen3<configs::qwen3_0_6b>::decoder_layer<64, dtype::f16>, onnx_winml, w8a16::types>;
static_assert(block::emitted::value.size() > 0 && block::executed::value.size() > 0);
"""

# The block that a session calls, as machine code.
KERNELS = COMPILED + "void run(execution_context& f) { execute<block::executed>(f); }\n"

CHECK, MAKE = ["-fsyntax-only"], ["-O2", "-c", "-o", os.devnull]


def block_of(layers):
    return f"Qwen3-0.6B block for onnx_winml, {layers} layer{'s' if layers > 1 else ''}"


def include(header):
    return f"#include <{header}>\n"


CASES = [
    ("empty file", "", CHECK),
    ("#include <boost/hana.hpp>", include("boost/hana.hpp"), CHECK),
    ("#include <xtensor/xarray.hpp>", include("xtensor/xarray.hpp"), CHECK),
    ("#include <nlohmann/json.hpp>", include("nlohmann/json.hpp"), CHECK),
    ("#include <xsimd/xsimd.hpp>", include("xsimd/xsimd.hpp"), CHECK),
    ("#include <qwq/rewrite/rewrite.hpp>", include("qwq/rewrite/rewrite.hpp"), CHECK),
    ("#include <qwq/qwq.hpp>", include("qwq/qwq.hpp"), CHECK),
    ("single_include/qwq.hpp", include(REPOSITORY / "single_include" / "qwq.hpp"), CHECK),
    ("the same with QWQ_WITH_TEXT", "#define QWQ_WITH_TEXT\n" + include(REPOSITORY / "single_include" / "qwq.hpp"), CHECK),
    *((block_of(n), BLOCK.format(layers=n), CHECK) for n in (1, 28, 94)),
    ("Qwen3-0.6B block compiled for w8a16", COMPILED, CHECK),
    ("the same as machine code, -O2", KERNELS, MAKE),
]


def measure(command):
    """User seconds (the least) and peak memory in MB (the largest) over the runs; the first failure ends the program."""
    seconds, megabytes = [], []
    while len(seconds) < RUNS and (not seconds or seconds[-1] < LONG_S):
        pid = os.posix_spawnp(command[0], command, os.environ)
        _, status, usage = os.wait4(pid, 0)
        if status != 0:
            sys.exit(f"compile_time.py: expected this to compile: {shlex.join(command)}")
        seconds.append(usage.ru_utime)
        # Linux counts kilobytes. The driver's children are the compiler itself; wait4 reports the largest of them.
        megabytes.append(usage.ru_maxrss / 1000)
    return min(seconds), max(megabytes)


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--compiler", default="g++")
    arguments.add_argument("--flags", default="", help="more flags, as one string: include paths of dependencies")
    arguments.add_argument("--exporter", nargs="+", default=[], metavar="PART.cpp", help="parts of an exporter to measure")
    a = arguments.parse_args()
    base = [*shlex.split(a.compiler), "-std=c++20", f"-I{REPOSITORY / 'include'}", *shlex.split(a.flags)]

    results, failures = {}, []
    with tempfile.TemporaryDirectory() as folder:
        source = pathlib.Path(folder) / "case.cpp"
        cases = [(name, source, text, how) for name, text, how in CASES]
        cases += [(f"exporter part {pathlib.Path(p).name}", pathlib.Path(p), None, MAKE) for p in a.exporter]
        width = max(len(name) for name, *_ in cases)
        print(f"{'':{width}}  CPU s  peak MB", flush=True)
        for name, file, text, how in cases:
            if text is not None:
                file.write_text(text)
            seconds, megabytes = results[name] = measure([*base, *how, str(file)])
            print(f"{name:{width}}  {seconds:5.2f}  {megabytes:7.0f}", flush=True)
            if text is None and (seconds > PART_LIMIT_S or megabytes > PART_LIMIT_MB):
                failures.append(f"{name}: expected at most {PART_LIMIT_S:.0f} s and {PART_LIMIT_MB:.0f} MB, "
                                f"found {seconds:.1f} s and {megabytes:.0f} MB")

    shallow, deep = results[block_of(1)][0], results[block_of(94)][0]
    limit = DEPTH_FACTOR * shallow + DEPTH_SLACK_S
    if deep > limit:
        failures.append(f"{block_of(94)}: expected at most {limit:.2f} s ({DEPTH_FACTOR} times 1 layer, and "
                        f"{DEPTH_SLACK_S} s), found {deep:.2f} s")
    for failure in failures:
        print(failure, file=sys.stderr)
    sys.exit(1 if failures else 0)


main()
