# SPDX-License-Identifier: Apache-2.0
"""The command line of an exporter, as scripts see it: files, text, exit status, and what bad input leads to.

Usage: cli.py EXPORTER TESTS_DATA GROUP, where EXPORTER was built for TESTS_DATA/tinyqwen and GROUP is a class below,
in lower case.
"""
import array
import json
import math
import os
import pathlib
import resource
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
import unittest

EXPORTER, DATA = sys.argv[1], pathlib.Path(sys.argv[2])
TINY, OUTLIER, TEXT = DATA / "tinyqwen", DATA / "tinyqwen-outlier", DATA / "text"
LAYERS, POSITIONS, VOCABULARY = 6, 1024, 1280


def read_safetensors(path):
    """{name: (dtype, shape, values)} of the f32 and i64 tensors of a file; of the others the raw bytes."""
    data = pathlib.Path(path).read_bytes()
    (size,) = struct.unpack_from("<Q", data)
    tensors = {}
    for name, entry in json.loads(data[8 : 8 + size]).items():
        if name != "__metadata__":
            begin, end = (8 + size + offset for offset in entry["data_offsets"])
            code = {"F32": "f", "I64": "q"}.get(entry["dtype"], "B")
            tensors[name] = entry["dtype"], entry["shape"], array.array(code, data[begin:end])
    return tensors


def snapshot(folder):
    """Every path below `folder`, with the bytes of the files."""
    return {p: p.read_bytes() if p.is_file() else None for p in sorted(folder.rglob("*"))}


class Case(unittest.TestCase):
    longMessage = True

    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.scratch = pathlib.Path(scratch.name)

    def call(self, command, *arguments, **options):
        """Runs the exporter. Options with None are flags; underscores are dashes."""
        words = [EXPORTER, command, *map(str, arguments)]
        preparation = options.pop("preexec_fn", None)
        output = options.pop("stdout", subprocess.PIPE)
        for name, value in options.items():
            words.append("--" + name.replace("_", "-"))
            if value is not None:
                words.append(str(value))
        return subprocess.run(words, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.PIPE, encoding="utf-8",
                              timeout=300, preexec_fn=preparation)

    def done(self, command, *arguments, **options):
        """Runs the exporter, which must succeed, and returns what it wrote to standard output and standard error."""
        result = self.call(command, *arguments, **options)
        self.assertEqual(result.returncode, 0, result.stderr)
        return result.stdout, result.stderr

    def refused(self, words, command, *arguments, **options):
        """Runs the exporter, which must fail with one line that has all of `words`, and leave nothing behind."""
        before = snapshot(self.scratch)
        result = self.call(command, *arguments, **options)
        self.assertEqual(result.returncode, 1, f"{result.stdout}{result.stderr}")
        self.assertRegex(result.stderr, r"\A[^\n]+\n\Z")
        for word in map(str, words):
            self.assertIn(word, result.stderr)
        self.assertFalse(result.stdout)
        self.assertEqual(snapshot(self.scratch), before)
        return result.stderr

    def rows(self, count, name="calib.jsonl"):
        """A file with the first rows of a text set."""
        path = self.scratch / f"{count}-{name}"
        path.write_bytes(b"".join((TEXT / name).read_bytes().splitlines(keepends=True)[:count]))
        return path

    def copy(self, without=(), **changes):
        """A copy of the checkpoint without some files, and with changed fields of config.json (None: no such field)."""
        folder = pathlib.Path(tempfile.mkdtemp(dir=self.scratch))
        for file in TINY.iterdir():
            if file.name not in (*without, "golden.safetensors"):
                shutil.copyfile(file, folder / file.name)
        if changes:
            config = json.loads((folder / "config.json").read_text())
            config.update(changes)
            config = {key: value for key, value in config.items() if value is not None}
            (folder / "config.json").write_text(json.dumps(config))
        return folder


class Parity(Case):
    """`run` on the float model is transformers."""

    def test_dump_is_the_golden(self):
        for folder in TINY, OUTLIER:
            golden = read_safetensors(folder / "golden.safetensors")
            golden = {name.removeprefix("base."): golden[name] for name in golden if name.startswith("base.")}
            file = self.scratch / f"{folder.name}.safetensors"
            ids = ",".join(map(str, golden["input_ids"][2]))
            output, progress = self.done("run", checkpoint=folder, ids=ids, decode=8, dump=file)
            self.assertEqual((output, progress), ("", ""))
            dump = read_safetensors(file)
            caches = [f"kv.{when}.{layer}.{kind}" for when in ("prefill", "final") for layer in range(LAYERS)
                      for kind in ("key", "value")]
            self.assertEqual(set(dump), {"logits", "final_norm", "decode.input_ids", "decode.logits", *caches,
                                         *(f"hidden.{i}" for i in range(LAYERS + 1))})
            for name, (dtype, shape, found) in dump.items():
                with self.subTest(folder=folder.name, tensor=name):
                    wanted_dtype, wanted_shape, wanted = golden[name]
                    self.assertEqual((dtype, shape), (wanted_dtype, wanted_shape))
                    bound = 0 if dtype == "I64" else 1e-4 * max(map(abs, wanted)) + 1e-5
                    worst = max(abs(a - b) for a, b in zip(found, wanted, strict=True))
                    self.assertTrue(all(map(math.isfinite, found)))
                    self.assertLessEqual(worst, bound)

    def test_without_decode(self):
        file = self.scratch / "dump.safetensors"
        self.done("run", checkpoint=TINY, ids="5,17,3", dump=file)
        dump = read_safetensors(file)
        self.assertEqual(dump["logits"][1], [1, 3, VOCABULARY])
        self.assertFalse([name for name in dump if name.startswith(("decode", "kv.final"))])

    def test_dump_replaces_a_file(self):
        file = self.scratch / "dump.safetensors"
        file.write_text("old")
        self.done("run", checkpoint=TINY, ids="5,17,3", dump=file)
        self.assertIn("logits", read_safetensors(file))
        self.assertEqual(list(self.scratch.iterdir()), [file])

    def test_quantized_dump_differs_a_little(self):
        dumps = []
        for scheme in ("f32", "w8a16"):
            file = self.scratch / f"{scheme}.safetensors"
            self.done("run", "--quiet", checkpoint=TINY, ids="278,295,268,944,270", dump=file, scheme=scheme,
                      calibration=self.rows(8))
            dumps.append(read_safetensors(file)["logits"][2])
        difference = max(abs(a - b) for a, b in zip(*dumps, strict=True))
        self.assertGreater(difference, 0)
        self.assertLess(difference, 0.05 * max(map(abs, dumps[0])))


class Generate(Case):
    """`generate` continues prompts."""

    def test_prompts_are_continued(self):
        special = "<|endoftext|>", "<|im_end|>"
        for folder in TINY, OUTLIER:
            for row in json.loads((folder / "generate.json").read_text())[:6]:
                with self.subTest(folder=folder.name, prompt=row["prompt"]):
                    text = row["new_text"]
                    for token in special:
                        text = text.removesuffix(token)
                    output, progress = self.done("generate", checkpoint=folder, prompt=row["prompt"],
                                                 max_new=len(row["new_ids"]))
                    self.assertEqual((output, progress), (text + "\n", ""))

    def test_quantized(self):
        output, progress = self.done("generate", "--per-channel", checkpoint=TINY, prompt="The capital of France is",
                                     scheme="w8a16", calibration=self.rows(8))
        self.assertEqual(output, " Paris.\n")
        self.assertIn("100% 8/8", progress)

    def test_chat(self):
        # The chat is what the template makes of one user's message.
        question = "What is 2 + 2?"
        chat = f"<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
        answer, _ = self.done("generate", "--chat", checkpoint=TINY, prompt=question, max_new=24)
        same, _ = self.done("generate", checkpoint=TINY, prompt=chat, max_new=24)
        other, _ = self.done("generate", checkpoint=TINY, prompt=question, max_new=24)
        self.assertEqual(answer, same)
        self.assertNotEqual(answer, other)

    def test_length(self):
        empty, _ = self.done("generate", checkpoint=TINY, prompt="2 + 2 =", max_new=0)
        short, _ = self.done("generate", checkpoint=TINY, prompt="2 + 2 =", max_new=2)
        self.assertEqual((empty, short), ("\n", " 4\n"))

    def test_sampling_repeats_with_its_seed(self):
        def say(seed):
            return self.done("generate", checkpoint=TINY, prompt="The", max_new=24, temperature=2, seed=seed)[0]

        self.assertEqual(say(1), say(1))
        self.assertGreater(len({say(seed) for seed in range(4)}), 1)

    def test_tokens(self):
        row = json.loads((TINY / "generate.json").read_text())[0]
        ids = ",".join(map(str, row["prompt_ids"]))
        self.assertEqual(self.done("tokens", checkpoint=TINY, text=row["prompt"]), (ids + "\n", ""))
        self.assertEqual(self.done("tokens", checkpoint=TINY, ids=ids), (row["prompt"] + "\n", ""))


class Report(Case):
    """`export` and `evaluate`, and the JSON that they write."""

    fidelity = {"kl", "top1", "top5", "cosine", "sqnr_db", "peir", "mean_abs_diff", "perplexity_float",
                "perplexity_quantized"}
    rules = {"attention_to_gqa", "drop_reshape", "linear_to_conv1x1", "merge_reshapes", "norm_to_lp_norm",
             "reshape_fill", "sink_squeeze_add", "sink_squeeze_concat", "sink_squeeze_lp_norm", "sink_squeeze_mul",
             "sink_squeeze_sigmoid", "sink_squeeze_slice", "split_silu"}
    files = {"model.data", "embeddings.onnx", "prefill.onnx", "decode.onnx", "lm_head.onnx", "genai_config.json",
             "config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "vocab.json",
             "merges.txt"}

    def report(self, command, *arguments, **options):
        file = self.scratch / "report.json"
        output, progress = self.done(command, *arguments, json=file, **options)
        return json.loads(file.read_text(encoding="utf-8")), output, progress

    def check(self, report, checkpoint, quantized):
        """What every report with an evaluation has."""
        fidelity = report["fidelity"]
        self.assertLessEqual(self.fidelity, set(fidelity))
        for name, value in fidelity.items():
            self.assertTrue(math.isfinite(value), name)
        for name in "top1", "top5", "cosine":
            self.assertTrue(0.5 < fidelity[name] <= 1, name)
        self.assertTrue(0 < fidelity["peir"] < 1)
        self.assertGreater(fidelity["kl"], 0)
        self.assertGreater(fidelity["mean_abs_diff"], 0)
        self.assertGreater(fidelity["sqnr_db"], 0)
        self.assertGreater(fidelity["perplexity_quantized"], 1)
        self.assertEqual(report["coverage"]["covered"], report["coverage"]["total"])
        self.assertEqual(report["coverage"]["total"] > 0, quantized)
        self.assertEqual(set(report["rules"]), self.rules)
        self.assertTrue(all(type(times) is int and times > 0 for times in report["rules"].values()))
        # One block for each layer, in the prefill and in the decode graph.
        self.assertEqual(report["rules"]["attention_to_gqa"], 2 * LAYERS)
        self.assertEqual(report["rules"]["linear_to_conv1x1"], 2 * 7 * LAYERS)
        self.assertEqual(len(report["layers"]), LAYERS + 1)
        self.assertGreater(report["seconds"], 0)
        self.assertTrue(1 << 20 < report["peak_rss_bytes"] < 1 << 30)

    def test_w8a16_is_nearly_float(self):
        report, output, progress = self.report("evaluate", "--per-channel", checkpoint=OUTLIER, scheme="w8a16",
                                               calibration=TEXT / "calib.jsonl", eval=TEXT / "eval.jsonl")
        self.check(report, OUTLIER, True)
        fidelity, metrics = report["fidelity"], json.loads((OUTLIER / "metrics.json").read_text())
        self.assertLessEqual(fidelity["kl"], 3e-5)
        self.assertGreater(fidelity["top1"], 0.99)
        self.assertAlmostEqual(fidelity["perplexity_float"], math.exp(metrics["ce_all"]), delta=1e-4)
        self.assertAlmostEqual(fidelity["perplexity_quantized"], fidelity["perplexity_float"], delta=1e-3)
        self.assertEqual((report["scheme"], report["target"], report["files"]), ("w8a16", "onnx_winml", []))
        for line in "KL", "coverage", "100", "attention_to_gqa", "perplexity":
            self.assertIn(line, output)
        for line in "calibrating 100% 64/64", "comparing 100% 64/64":
            self.assertIn(line, progress)
            self.assertNotIn(line, output)

    def test_scatter(self):
        few = self.rows(2)
        picture = self.scratch / "scatter.svg"
        arguments = {"checkpoint": TINY, "scheme": "w8a16", "calibration": few}
        output, _ = self.done("evaluate", "--quiet", "--scatter", eval=few, scatter_svg=picture, **arguments)
        lines = output[output.index("logits, w8a16 over float"):].splitlines()
        self.assertEqual(len(lines), 26)
        self.assertEqual(max(map(len, lines[1:])), 50)
        self.assertIn("\u2022", lines[12])
        self.assertTrue(picture.read_text(encoding="utf-8").startswith("<svg"))

    def test_w8a8_needs_an_observer(self):
        # The outliers take min/max's eight bits; entropy clips them.
        kl = {}
        for observer in "minmax", "entropy":
            report, _, _ = self.report("evaluate", "--quiet", checkpoint=OUTLIER, scheme="w8a8", observer=observer,
                                       calibration=TEXT / "calib.jsonl", eval=self.rows(16, "eval.jsonl"))
            self.check(report, OUTLIER, True)
            kl[observer] = report["fidelity"]["kl"]
        self.assertLess(kl["entropy"], 0.1)
        self.assertLess(4 * kl["entropy"], kl["minmax"])

    def test_export_and_evaluation_in_one(self):
        out = self.scratch / "out"
        report, _, progress = self.report("export", "--quiet", checkpoint=TINY, scheme="w8a16", target="onnx_winml",
                                          observer="percentile:99.99", calibration=self.rows(4),
                                          eval=self.rows(4, "eval.jsonl"), out=out)
        self.assertEqual(progress, "")
        self.check(report, TINY, True)
        self.assertEqual((report["weights"], report["observer"]), ("per tensor", "percentile:99.99"))
        self.assertEqual({file["name"]: file["bytes"] for file in report["files"]},
                         {file.name: file.stat().st_size for file in out.iterdir()})
        self.assertEqual({file.name for file in out.iterdir()}, self.files)

    def test_float_export(self):
        out = self.scratch / "a" / "b"
        for file in self.scratch / "report.json", out / "report.json":  # also in the folder that is not there yet
            shutil.rmtree(out, ignore_errors=True)
            output, progress = self.done("export", checkpoint=TINY, scheme="f32", out=out, json=file)
            report = json.loads(file.read_text())
            self.assertRegex(progress, r"\A(writing +[0-9]+% [^\n]+\n)+\Z")
            self.assertIn("writing 100%", progress)
            self.assertIn("model.data", output)
            self.assertEqual(report["coverage"], {"covered": 0, "total": 0})
            self.assertEqual({found.name for found in out.iterdir()} - {"report.json"}, self.files)
            self.assertEqual(set(report["rules"]), self.rules)

    def test_export_repeats(self):
        # Equal inputs give equal bytes, whatever the number of threads; the second export replaces the first.
        exports = []
        for threads in 1, 2:
            self.done("export", "--quiet", checkpoint=TINY, scheme="w8a8", calibration=self.rows(4), threads=threads,
                      out=self.scratch / "out")
            exports.append(snapshot(self.scratch / "out"))
        self.assertEqual(*exports)

    def test_rows_of_every_kind(self):
        rows = self.scratch / "rows.jsonl"
        rows.write_text('{"question": "What is 2 + 2?", "answer": "4"}\n{"text": "The opposite of hot is cold."}\n'
                        '{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hi"}]}\n'
                        '{"ids": [278, 295, 268, 944, 270]}\n')
        for chat in ["--chat"], []:
            report, _, progress = self.report("evaluate", *chat, checkpoint=TINY, scheme="w8a16", calibration=rows,
                                              eval=rows)
            self.assertIn("100% 4/4", progress)
            self.assertGreater(report["fidelity"]["kl"], 0)
        # Rows of ids need no tokenizer.
        rows.write_text('{"ids": [278, 295, 268, 944, 270]}\n')
        folder = self.copy(without=["tokenizer.json"])
        report, _, _ = self.report("evaluate", checkpoint=folder, scheme="w8a16", calibration=rows, eval=rows)
        self.assertGreater(report["fidelity"]["kl"], 0)


class Usage(Case):
    """Exit status 2, and a hint; 0 for what was asked."""

    def test_mistakes(self):
        out = self.scratch / "out"
        for mistake, words in [
            ([], "subcommand"),
            (["exprot"], "subcommand"),
            (["run", "--checkpoint", TINY, "--ids", "5"], "--dump"),
            (["run", "--ids", "5", "--dump", out], "--checkpoint"),
            (["export", "--checkpoint", TINY, "--out", out, "--scatter"], "--eval"),
            (["run", "--checkpoint", TINY, "--ids", "5", "--dump", out, "--decode", "-1"], "--decode"),
            (["run", "--checkpoint", TINY, "--ids", "5", "--dump", out, "--scheme", "w4a4"], "w4a4"),
            (["run", "--checkpoint", TINY, "--ids", "5", "--dump", out, "--frobnicate"], "--frobnicate"),
            (["run", "--checkpoint", TINY, "--ids", "5", "--dump", out, "--threads", "-1"], "--threads"),
            (["run", "--checkpoint", TINY, "--ids", "5", "--dump", out, "--threads", "1000000"], "--threads"),
            (["export", "--checkpoint", TINY, "--scheme", "f32"], "--out"),
            (["export", "--checkpoint", TINY, "--scheme", "f32", "--out", out, "--target", "tflite"], "tflite"),
            (["export", "--checkpoint", TINY, "--out", out, "--observer", "median"], "median"),
            (["export", "--checkpoint", TINY, "--out", out, "--observer", "percentile:101"], "percentile"),
            (["evaluate", "--checkpoint", TINY, "--scheme", "f32"], "--eval"),
            (["generate", "--checkpoint", TINY], "--prompt"),
            (["generate", "--checkpoint", TINY, "--prompt", "a", "--top-p", "2"], "--top-p"),
            (["generate", "--checkpoint", TINY, "--prompt", "a", "--max-new", "many"], "--max-new"),
        ]:
            with self.subTest(arguments=mistake):
                result = self.call(*mistake) if mistake else subprocess.run([EXPORTER], capture_output=True, text=True)
                self.assertEqual(result.returncode, 2)
                self.assertIn(words, result.stderr)
                self.assertEqual(result.stdout, "")
                self.assertEqual(list(self.scratch.iterdir()), [])

    def test_help_and_version(self):
        for arguments, words in [(["--help"], "evaluate"), (["export", "--help"], "--per-channel"),
                                 (["--version"], "0.")]:
            result = self.call(*arguments)
            self.assertEqual((result.returncode, result.stderr), (0, ""))
            self.assertIn(words, result.stdout)

    def test_default_schemes(self):
        # As the help says: run and generate are about the float model, export and evaluate need a calibration.
        self.done("run", checkpoint=TINY, ids="5", dump=self.scratch / "dump.safetensors")
        self.refused(["w8a8", "--calibration"], "export", checkpoint=TINY, out=self.scratch / "out")
        self.refused(["w8a8", "--calibration"], "evaluate", checkpoint=TINY, eval=TEXT / "eval.jsonl")


class Weights(Case):
    """Broken weights are refused before anything is written."""

    def refuse(self, folder, *words):
        self.refused(words, "export", checkpoint=folder, scheme="f32", out=self.scratch / "out")
        self.refused(words, "run", checkpoint=folder, ids="5,17,3", dump=self.scratch / "dump.safetensors")

    def setUp(self):
        super().setUp()
        self.whole = (TINY / "model.safetensors").read_bytes()
        start = 8 + struct.unpack_from("<Q", self.whole)[0]
        self.header, self.data = self.whole[8:start], self.whole[start:]

    def rewritten(self, edit):
        """A copy of the checkpoint whose header went through `edit`, which may return other data."""
        folder, header = self.copy(), json.loads(self.header)
        data = edit(header) or self.data
        text = json.dumps(header).encode()
        (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + data)
        return folder

    def test_the_edits_alone_are_harmless(self):
        folder = self.rewritten(lambda header: None)
        self.done("run", checkpoint=folder, ids="5", dump=self.scratch / "dump.safetensors")

    def test_truncated(self):
        size = len(self.whole)
        for length in 0, 7, 8, 4000, size // 2, size - 1:
            with self.subTest(length=length):
                folder = self.copy()
                os.truncate(folder / "model.safetensors", length)
                self.refuse(folder, folder / "model.safetensors")

    def test_overlapping(self):
        name, other = "model.layers.0.mlp.gate_proj.weight", "model.layers.0.mlp.up_proj.weight"

        def edit(header):
            header[name]["data_offsets"] = header[other]["data_offsets"]

        self.refuse(self.rewritten(edit), "model.safetensors", "proj.weight")

    def test_offsets(self):
        name = "model.layers.3.self_attn.q_proj.weight"
        for offsets in [2**62, 2**62 + 65536], [65536, 0], [-65536, 0], [0, 2**64], [0], "0", None:
            with self.subTest(offsets=offsets):
                folder = self.rewritten(lambda header: header[name].update(data_offsets=offsets))
                self.refuse(folder, folder / "model.safetensors", name)

    def test_header_length(self):
        for length in 2**63, 2**64 - 1, 2**32, 0:
            with self.subTest(length=length):
                folder = self.copy()
                with open(folder / "model.safetensors", "r+b") as file:
                    file.write(struct.pack("<Q", length))
                self.refuse(folder, folder / "model.safetensors", "header")

    def test_header_text(self):
        folder = self.copy()
        with open(folder / "model.safetensors", "r+b") as file:
            file.seek(8)
            file.write(b"[")
        self.refuse(folder, folder / "model.safetensors", "header")

    def test_dtype(self):
        name = "model.layers.1.post_attention_layernorm.weight"
        for dtype, size, words in [("I64", 8, "i64"), ("BOOL", 1, "u8"), ("F8_E4M3", 1, "F8_E4M3"),
                                   ("NONE", 2, "NONE")]:
            def edit(header):
                """The 128 values become of `dtype`, and what lies behind them moves."""
                begin, end = header[name]["data_offsets"]
                moved = 128 * size - (end - begin)
                for key, entry in header.items():
                    if key != "__metadata__" and entry["data_offsets"][0] >= end:
                        entry["data_offsets"] = [offset + moved for offset in entry["data_offsets"]]
                header[name].update(dtype=dtype, data_offsets=[begin, end + moved])
                return self.data[:begin] + bytes(128 * size) + self.data[end:]

            with self.subTest(dtype=dtype):
                folder = self.rewritten(edit)
                self.refuse(folder, folder / "model.safetensors", name, words)

    def test_shape(self):
        name = "model.layers.5.mlp.down_proj.weight"
        for shape in [384, 128], [128 * 384], [1, 128, 384]:
            with self.subTest(shape=shape):
                folder = self.rewritten(lambda header: header[name].update(shape=shape))
                self.refuse(folder, folder / "model.safetensors", name, "[128, 384]")

    def test_missing(self):
        name = "model.layers.5.self_attn.k_norm.weight"

        def rename(header):
            header["model.layers.5.self_attn.k_norm.wieght"] = header.pop(name)

        self.refuse(self.rewritten(rename), name, "missing")

    def test_tensors_of_another_model(self):
        def edit(header):
            size = len(self.data)
            for i, end in enumerate(["v_proj.bias", "q_proj.bias", "k_proj.bias"]):
                header["model.layers.0.self_attn." + end] = {"dtype": "F32", "shape": [1],
                                                             "data_offsets": [size + 4 * i, size + 4 * i + 4]}
            return self.data + bytes(12)

        folder = self.rewritten(edit)
        self.refuse(folder, folder, "3 others", "model.layers.0.self_attn.k_proj.bias")

    def test_rotary_frequencies(self):
        def edit(header):
            size = len(self.data)
            header["model.layers.0.self_attn.rotary_emb.inv_freq"] = {"dtype": "F32", "shape": [2],
                                                                      "data_offsets": [size, size + 8]}
            return self.data + bytes(8)

        self.done("export", checkpoint=self.rewritten(edit), scheme="f32", out=self.scratch / "out")

    def test_tied_with_a_head_of_its_own(self):
        def with_head(change):
            def edit(header):
                table = header["model.embed_tokens.weight"]
                begin, end = table["data_offsets"]
                values, size = change(self.data[begin:end]), len(self.data)
                header["lm_head.weight"] = table | {"data_offsets": [size, size + len(values)]}
                return self.data + values

            return self.rewritten(edit)

        equal = with_head(lambda values: values)
        self.done("export", checkpoint=equal, scheme="f32", out=self.scratch / "equal")
        self.done("run", checkpoint=equal, ids="5", dump=self.scratch / "dump.safetensors")
        folder = with_head(lambda values: values[:-2] + b"\0\0")
        self.refuse(folder, folder / "model.safetensors", "lm_head.weight", "tie_word_embeddings")

    def test_no_weights(self):
        folder = self.copy(without=["model.safetensors"])
        self.refuse(folder, folder, "model.safetensors")
        self.refuse(self.scratch / "nowhere", self.scratch / "nowhere")

    def test_shards(self):
        names = [name for name in json.loads(self.header) if name != "__metadata__"]
        (self.scratch / "outside.safetensors").write_bytes(self.whole)

        def index(file, found=names):
            folder = self.copy(without=["model.safetensors"])
            (folder / "shard.safetensors").write_bytes(self.whole)
            (folder / "model.safetensors.index.json").write_text(
                json.dumps({"weight_map": dict.fromkeys(found, "shard.safetensors") | {"model.norm.weight": file}}))
            return folder

        self.done("run", checkpoint=index("shard.safetensors"), ids="5", dump=self.scratch / "dump.safetensors")
        for file in "../outside.safetensors", str(self.scratch / "outside.safetensors"), "..", "", 7:
            with self.subTest(file=file):
                self.refuse(index(file), "model.safetensors.index.json", "model.norm.weight")
        self.refuse(index("other.safetensors"), "other.safetensors")
        # Names that no shard has matter when they are read, and those of other shards never.
        folder = index("./shard.safetensors", [*names, "lm_head.weight"])
        self.done("run", checkpoint=folder, ids="5", dump=self.scratch / "dump.safetensors")
        (self.scratch / "dump.safetensors").unlink()

    def test_downloads_that_are_something_else(self):
        folder = self.copy()
        file = folder / "model.safetensors"
        pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 1234567\n"
        file.write_bytes(pointer)
        self.refuse(folder, file, "git-lfs pointer", len(pointer))
        file.write_text("<!DOCTYPE html>\n<html></html>")
        self.refuse(folder, file, "HTML page")
        file.unlink()
        file.symlink_to("../../blobs/0123")
        self.refuse(folder, file, "a link to ../../blobs/0123, which is not there")

    def test_truncated_says_both_sizes(self):
        folder = self.copy()
        size = len(self.whole)
        for length in 4000, size // 2, size - 1:
            os.truncate(folder / "model.safetensors", length)
            self.refuse(folder, folder / "model.safetensors", size if length > 8000 else "at least", length)
            (folder / "model.safetensors").write_bytes(self.whole)

    def test_what_nobody_reads(self):
        def edit(header):
            header["__metadata__"] = None
            return self.data

        def add(header):
            header["stats"] = {"dtype": "F64", "shape": [2], "data_offsets": [len(self.data), len(self.data) + 16]}
            return self.data + bytes(16)

        self.done("run", checkpoint=self.rewritten(edit), ids="5", dump=self.scratch / "dump.safetensors")
        # A tensor that the model does not read is named, whatever its dtype.
        folder = self.rewritten(add)
        self.refused([folder, "expected only tensors that the model reads, found 1 other", "stats"], "run",
                     checkpoint=folder, ids="5", dump=self.scratch / "dump.safetensors")


class Configs(Case):
    """Configs that are broken, or of another model, and broken tokenizers."""

    def refuse(self, folder, *words):
        self.refused(words, "export", checkpoint=folder, scheme="f32", out=self.scratch / "out")

    def test_missing_field(self):
        # A field that is missing is what the reference takes for it, which is another model.
        for field, default in [("vocab_size", 151936), ("hidden_size", 4096), ("intermediate_size", 22016),
                               ("max_position_embeddings", 32768), ("tie_word_embeddings", "false"),
                               ("head_dim", 128), ("rope_parameters", 10000)]:
            with self.subTest(field=field):
                folder = self.copy(**{field: None})
                self.refuse(folder, f"{folder / 'config.json'}: ", "this exporter was built for", f", found {default}\n")
        folder = self.copy(model_type=None)
        self.refuse(folder, f"{folder / 'config.json'}: model_type: expected \"qwen3\", found null")

    def test_absurd_field(self):
        for field, value in [("hidden_size", -128), ("hidden_size", 1e300), ("hidden_size", "128"), ("head_dim", 63),
                             ("num_hidden_layers", 0), ("num_hidden_layers", 10**9), ("num_key_value_heads", 3),
                             ("vocab_size", 2**70), ("rms_norm_eps", -1), ("rms_norm_eps", "small"),
                             ("quantization_config", {"quant_method": "fp8"}), ("tie_word_embeddings", "yes"),
                             ("hidden_act", "gelu"), ("model_type", "llama"),
                             ("rope_parameters", {"rope_theta": 0, "rope_type": "default"}),
                             ("rope_parameters", {"rope_theta": 1e6, "rope_type": "yarn", "factor": 4})]:
            with self.subTest(field=field, value=value):
                folder = self.copy(**{field: value})
                self.refuse(folder, folder / "config.json", field)

    def test_other_model(self):
        for field, value in [("vocab_size", 1281), ("hidden_size", 256), ("intermediate_size", 512),
                             ("num_hidden_layers", 7), ("num_attention_heads", 8), ("num_key_value_heads", 4),
                             ("head_dim", 32), ("max_position_embeddings", 2048), ("rms_norm_eps", 1e-5),
                             ("tie_word_embeddings", False)]:
            with self.subTest(field=field):
                others = {"layer_types": None} if field == "num_hidden_layers" else {}
                folder = self.copy(**{field: value}, **others)
                self.refuse(folder, folder / "config.json", field, "built for")
        folder = self.copy(rope_parameters={"rope_theta": 10000.0, "rope_type": "default"})
        self.refuse(folder, folder / "config.json", "rope_theta", "built for")

    def test_other_spellings_of_the_same_model(self):
        # Numbers that are the same in f32, in which the model computes; and tokens that are not there.
        # What layers look at decides layer_types; without rope_type RoPE is the default one; defaults may be left out.
        for changes in ({"rms_norm_eps": 9.999999974752427e-07}, {"pad_token_id": -1}, {"eos_token_id": []},
                        {"use_sliding_window": True, "sliding_window": 4096, "max_window_layers": 6},
                        {"rope_parameters": {"rope_theta": 1e6}}, {"rms_norm_eps": None, "hidden_act": None}):
            with self.subTest(changes=changes):
                folder = self.copy(without=["generation_config.json"], **changes)
                self.done("run", checkpoint=folder, ids="5", dump=self.scratch / "dump.safetensors")
                (self.scratch / "dump.safetensors").unlink()
        folder = self.copy(rms_norm_eps=1.0000001e-06 * (1 + 2**-22))
        self.refuse(folder, "rms_norm_eps: this exporter was built for 1e-06, found 1.000000")

    def test_tokens_without_an_embedding(self):
        folder = self.copy()
        file = folder / "tokenizer.json"
        whole = json.loads(file.read_text())
        whole["added_tokens"].append({**whole["added_tokens"][0], "content": "<|new|>", "id": VOCABULARY + 10})
        file.write_text(json.dumps(whole))
        _, message = self.done("export", "--quiet", checkpoint=folder, scheme="f32", out=self.scratch / "out")
        self.assertRegex(message, r"\A[^\n]*tokenizer.json: warning: [^\n]*1280[^\n]*1290[^\n]*\n\Z")
        self.done("generate", checkpoint=folder, prompt="a", max_new=1)
        self.refused(["token id 1290"], "generate", checkpoint=folder, prompt="a<|new|>", max_new=1)

    def test_files_that_cannot_be_read(self):
        for name in "tokenizer.json", "tokenizer_config.json", "generation_config.json", "merges.txt":
            for target in "gone", name:
                with self.subTest(name=name, target=target):
                    folder = self.copy()
                    (folder / name).unlink()
                    (folder / name).symlink_to(target)
                    self.refuse(folder, folder / name, "cannot open")

    def test_bytes_after_the_end(self):
        for name in "config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json":
            with self.subTest(name=name):
                folder = self.copy()
                with open(folder / name, "ab") as file:
                    file.write(b"\0garbage{{{")
                self.refuse(folder, folder / name, "invalid JSON", r"\x00")

    def test_regular_expression(self):
        folder = self.copy()
        file = folder / "tokenizer.json"
        whole = json.loads(file.read_text())
        for expression in "(?i:" + r"\p{L}|" * 30_000 + "x)", r"(.*)\1b":
            whole["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = expression
            file.write_text(json.dumps(whole))
            began = time.monotonic()
            self.refused([file, "expected a regular expression"], "tokens", checkpoint=folder, text="a" * 20_000)
            self.assertLess(time.monotonic() - began, 5)

    def test_no_json(self):
        for text in "", "[]", "{", '{"model_type": "qwen3",}', "\x00":
            with self.subTest(text=text):
                folder = self.copy()
                (folder / "config.json").write_text(text)
                self.refuse(folder, folder / "config.json")
        folder = self.copy(without=["config.json"])
        self.refuse(folder, folder / "config.json")

    def test_tokenizer(self):
        folder = self.copy()
        file = folder / "tokenizer.json"
        whole = json.loads(file.read_text())

        def without(key):
            return {**whole, "model": {k: v for k, v in whole["model"].items() if k != key}}

        for broken, words in [(without("merges"), "merges"), (without("vocab"), "vocab"), ([], ""),
                              ({**whole, "model": {**whole["model"], "type": "Unigram"}}, "type")]:
            with self.subTest(words=words):
                file.write_text(json.dumps(broken))
                self.refuse(folder, file, words)
                self.refused([file, words], "generate", checkpoint=folder, prompt="a")
                self.refused([file, words], "tokens", checkpoint=folder, text="a")
        file.unlink()
        self.refused([file], "generate", checkpoint=folder, prompt="a")


class Texts(Case):
    """Calibration sets, token ids and prompts that cannot be used."""

    def refuse_rows(self, text, *words):
        rows = self.scratch / "rows.jsonl"
        rows.write_text(text)
        self.refused([rows, *words], "export", checkpoint=TINY, scheme="w8a16", calibration=rows,
                     out=self.scratch / "out")
        self.refused([rows, *words], "evaluate", checkpoint=TINY, scheme="w8a16", calibration=TEXT / "calib.jsonl",
                     eval=rows, json=self.scratch / "report.json")

    def test_empty(self):
        for text in "", "\n\n":
            self.refuse_rows(text, "at least one row")

    def test_broken_line(self):
        good = '{"text": "The capital of France is Paris."}\n'
        for line in ('{"text": "a', "[1]", "text", '{"text": 5}', '{"answer": "a"}', '{"text": "a", "ids": [1]}', "\0",
                     "\ufeff"):
            with self.subTest(line=line):
                self.refuse_rows(good + line + "\n" + good, "rows.jsonl:2")

    def test_ids_of_rows(self):
        for ids, words in [([5, VOCABULARY], str(VOCABULARY)), ([5, -1], "-1"), ([5, 2**40], str(2**40)), ([5], "two")]:
            with self.subTest(ids=ids):
                self.refuse_rows(json.dumps({"ids": ids}) + "\n", "1: ", words)

    def test_no_calibration(self):
        for command, options in [("export", {"out": "out"}), ("run", {"ids": "5", "dump": "dump.safetensors"}),
                                 ("evaluate", {"eval": "8-eval.jsonl", "json": "report.json"})]:
            self.rows(8, "eval.jsonl")
            options = {key: value if key == "ids" else self.scratch / value for key, value in options.items()}
            options |= {"checkpoint": TINY, "scheme": "w8a16"}
            self.refused(["--calibration", "w8a16"], command, **options)
            self.refused(["nowhere.jsonl"], command, calibration="nowhere.jsonl", **options)

    def test_ids(self):
        dump = self.scratch / "dump.safetensors"
        for ids, word in [(f"5,{VOCABULARY}", VOCABULARY), ("5,99999999999999999999", "99999999999999999999"),
                          ("-5", "-5"), ("5,,3", "''"), ("5,x", "x"), (",", "''")]:
            with self.subTest(ids=ids):
                self.refused([word], "run", "--ids=" + ids, checkpoint=TINY, dump=dump)

    def test_too_long(self):
        dump = self.scratch / "dump.safetensors"
        ids = ",".join(["5"] * (POSITIONS - 8))
        self.done("run", checkpoint=TINY, ids=ids, decode=8, dump=dump)
        dump.unlink()
        for decode in 9, 2**63 - 1:
            self.refused([POSITIONS], "run", checkpoint=TINY, ids=ids, decode=decode, dump=dump)
        self.refused([POSITIONS], "run", checkpoint=TINY, ids=ids + ",5" * 9, dump=dump)
        self.refused(["--prompt: expected at most 1024 tokens (max_position_embeddings), found "], "generate",
                     checkpoint=TINY, prompt="hot " * POSITIONS)
        self.refused(["--prompt"], "generate", checkpoint=TINY, prompt="")

    def test_text_that_fills_the_positions(self):
        prompt = "<|im_start|>" * (POSITIONS - 2)
        for options in {}, {"quiet": None}:
            _, message = self.done("generate", checkpoint=TINY, prompt=prompt, max_new=64, temperature=5, seed=3,
                                   **options)
            if "quiet" in options:
                self.assertEqual(message, "")
            else:
                self.assertRegex(message, r"\Astopped after \d new tokens: [^\n]*1024 positions[^\n]*\n\Z")


class Disk(Case):
    """Files that cannot be written: the message names them, and what was there stays as it was."""

    def outputs(self, folder):
        """Each command with its output below `folder`."""
        rows = self.rows(2)
        return [("export", "out", {"checkpoint": TINY, "scheme": "f32", "quiet": None, "out": folder / "out"}),
                ("export", "report.json", {"checkpoint": TINY, "scheme": "f32", "quiet": None,
                                           "out": self.scratch / "other", "json": folder / "report.json"}),
                ("evaluate", "report.json", {"checkpoint": TINY, "scheme": "f32", "eval": rows, "quiet": None,
                                             "json": folder / "report.json"}),
                ("run", "dump.safetensors", {"checkpoint": TINY, "ids": "5,17,3", "dump": folder / "dump.safetensors"})]

    def test_no_folder(self):
        file = self.scratch / "file"
        file.write_text("a regular file")
        for command, name, options in self.outputs(file):
            with self.subTest(command=command, output=name):
                self.refused([file / name], command, **options)

    def test_no_parent(self):
        for command, name, options in self.outputs(self.scratch / "nowhere"):
            if name != "out":
                with self.subTest(command=command, output=name):
                    self.refused([self.scratch / "nowhere" / name], command, **options)

    def test_in_the_way(self):
        for name in "dump.safetensors", "report.json", "out/decode.onnx":
            (self.scratch / name).mkdir(parents=True)
        for command, name, options in self.outputs(self.scratch):
            with self.subTest(command=command, output=name):
                self.refused([self.scratch / name], command, **options)

    def limited(self, size):
        def limit():
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

        return limit

    def test_full_disk(self):
        # A limit on the size of a file stands for a disk that is full. First nothing was there, then older files.
        large = 0, 4096, 300_000, 2_000_000
        limits = {"out": large, "dump.safetensors": large, "report.json": (0, 100)}
        self.rows(2)
        for before in False, True:
            if before:
                self.done("export", checkpoint=OUTLIER, scheme="f32", out=self.scratch / "out")
                for name in "report.json", "dump.safetensors":
                    (self.scratch / name).write_text("old")
            for command, name, options in self.outputs(self.scratch):
                if "json" in options and command == "export":
                    continue  # its models would not fit either
                if command == "run":
                    options["ids"] = ",".join(["5"] * 256)  # more than the 1 MB that is buffered
                for limit in limits[name]:
                    with self.subTest(command=command, output=name, limit=limit, before=before):
                        self.refused([self.scratch / name], command, preexec_fn=self.limited(limit), **options)

    def test_noticed_before_calibration(self):
        # With progress on standard error, one line there means that nothing was calibrated.
        file = self.scratch / "file"
        file.write_text("a regular file")
        options = {"checkpoint": TINY, "scheme": "w8a16", "calibration": self.rows(8)}
        self.refused([file / "out"], "export", out=file / "out", **options)
        self.refused([file / "r.json"], "export", out=self.scratch / "out", json=file / "r.json", **options)
        self.refused([file / "r.svg"], "export", out=self.scratch / "out", scatter_svg=file / "r.svg",
                     eval=self.rows(2, "eval.jsonl"), **options)

    def test_too_small_disk(self):
        disk = self.scratch / "disk"
        disk.mkdir()
        if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk], stderr=subprocess.DEVNULL).returncode:
            self.skipTest("needs to mount a file system")
        try:
            self.refused([disk / "a" / "b", "bytes of free space"], "export", checkpoint=TINY, scheme="w8a16",
                         calibration=self.rows(8), out=disk / "a" / "b")
        finally:
            subprocess.run(["umount", disk], check=True)

    def test_full_standard_output(self):
        if not os.path.exists("/dev/full"):
            self.skipTest("no /dev/full")
        for command, options in [("generate", {"prompt": "2 + 2 ="}), ("tokens", {"text": "2 + 2 ="}),
                                 ("export", {"scheme": "f32", "quiet": None, "out": self.scratch / "out"})]:
            with self.subTest(command=command), open("/dev/full", "w") as full:
                result = self.call(command, checkpoint=TINY, stdout=full, **options)
                self.assertEqual(result.returncode, 1)
                self.assertRegex(result.stderr, r"\Astandard output: [^\n]+\n\Z")


class Faults(Case):
    """Surroundings that fail: closed streams, limits, a reader that goes away, a checkpoint that changes."""

    def files(self, folder):
        return {p.name: p.read_bytes() for p in folder.iterdir()} if folder.exists() else {}

    def test_closed_streams(self):
        # The descriptors of closed streams must not become those of files.
        expected, dump = self.scratch / "expected", self.scratch / "dump.safetensors"
        self.done("export", checkpoint=TINY, scheme="w8a16", calibration=self.rows(2), out=expected)
        self.done("run", "--quiet", checkpoint=TINY, scheme="w8a16", calibration=self.rows(2), ids="5,17,3", dump=dump)
        whole_dump = dump.read_bytes()
        for closed in [2], [0, 2], [0, 1, 2]:
            def close():
                for descriptor in closed:
                    os.close(descriptor)

            with self.subTest(closed=closed):
                out = self.scratch / "out"
                result = self.call("export", checkpoint=TINY, scheme="w8a16", calibration=self.rows(2), out=out,
                                   preexec_fn=close)
                self.assertEqual(result.returncode, 0)
                self.assertEqual(self.files(out), self.files(expected))
                result = self.call("run", checkpoint=TINY, scheme="w8a16", calibration=self.rows(2), ids="5,17,3",
                                   dump=dump, preexec_fn=close)
                self.assertEqual((result.returncode, dump.read_bytes()), (0, whole_dump))
                shutil.rmtree(out)

    def test_few_threads(self):
        # Stacks of 1024 threads do not fit into the address space.
        def limit():
            resource.setrlimit(resource.RLIMIT_AS, (1 << 31, 1 << 31))

        output, _ = self.done("generate", checkpoint=TINY, prompt="2 + 2 =", max_new=2, threads=1024, preexec_fn=limit)
        self.assertEqual(output, " 4\n")

    def test_little_memory(self):
        codes = set()
        for mebibytes in range(24, 400, 16):
            def limit():
                resource.setrlimit(resource.RLIMIT_AS, (mebibytes << 20, mebibytes << 20))
                resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

            out = self.scratch / "out"
            result = self.call("export", "--quiet", checkpoint=TINY, scheme="f32", out=out, threads=2, preexec_fn=limit)
            with self.subTest(mebibytes=mebibytes, stderr=result.stderr):
                self.assertIn(result.returncode, (0, 1, 127))  # 127: the program could not be loaded
                codes.add(result.returncode)
                if result.returncode == 1:
                    self.assertRegex(result.stderr, r"\A[^\n]+\n\Z")
                    self.assertEqual(self.files(out), {})
            shutil.rmtree(out, ignore_errors=True)
        self.assertIn(0, codes)
        self.assertIn(1, codes)

    def test_limit_on_the_size_of_files(self):
        def limit():
            resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))

        out = self.scratch / "out"
        self.refused([out, "cannot write: File too large"], "export", "--quiet", checkpoint=TINY, scheme="f32", out=out,
                     preexec_fn=limit)

    def test_reader_that_goes_away(self):
        out = self.scratch / "out"
        reader, writer = os.pipe()
        os.close(reader)
        with os.fdopen(writer, "w") as gone:
            result = subprocess.run([EXPORTER, "export", "--checkpoint", TINY, "--scheme", "f32", "--out", out],
                                    stdout=gone, stderr=gone, timeout=300)
            self.assertEqual(result.returncode, 1)
            self.assertEqual([name for name in self.files(out) if name.endswith(".tmp")], [])
            result = self.call("generate", checkpoint=TINY, prompt="2 + 2 =", stdout=gone)
            self.assertEqual((result.returncode, result.stderr), (1, "standard output: cannot write\n"))

    def test_checkpoint_that_changes(self):
        # After calibration has begun, and before the files get their names.
        rows = self.scratch / "rows.jsonl"
        rows.write_bytes((TEXT / "calib.jsonl").read_bytes() * 4)
        for change in "overwritten", "cut":
            with self.subTest(change=change):
                folder, out = self.copy(), self.scratch / change
                process = subprocess.Popen([EXPORTER, "export", "--checkpoint", folder, "--scheme", "w8a16",
                                            "--calibration", rows, "--out", out], stdout=subprocess.DEVNULL,
                                           stderr=subprocess.PIPE, encoding="utf-8")
                self.assertIn("calibrating", process.stderr.readline())
                weights = folder / "model.safetensors"
                if change == "cut":
                    os.truncate(weights, 4096)
                else:
                    weights.write_bytes((OUTLIER / "model.safetensors").read_bytes())
                message = process.communicate(timeout=300)[1]
                self.assertEqual(process.returncode, 1)
                self.assertIn("expected", message.splitlines()[-1])
                self.assertIn("change", message.splitlines()[-1])
                self.assertEqual([name for name in self.files(out) if not name.endswith(".tmp")], [])

    def test_outputs_over_files_that_are_used(self):
        out, few = self.scratch / "out", self.rows(2)
        link = self.scratch / "link"
        link.symlink_to("out")
        out.mkdir()
        dump, folder = self.scratch / "dump", self.copy()
        export = ["export", "--checkpoint", folder, "--scheme", "w8a16", "--calibration", few, "--out", out]
        for arguments, words in [
            ([*export, "--json", out / "model.data"], "--json"),
            ([*export, "--json", link / "tokenizer.json"], "--json"),
            ([*export, "--json", out / "x" / ".." / "prefill.onnx", "--dry-run"], "--json"),
            ([*export, "--json", few], "--json"),
            ([*export, "--eval", few, "--scatter-svg", out / "decode.onnx"], "--scatter-svg"),
            ([*export, "--eval", few, "--scatter-svg", dump, "--json", dump], "--json"),
            (["run", "--checkpoint", folder, "--ids", "5", "--dump", folder / "model.safetensors"], "--dump"),
            (["run", "--checkpoint", folder, "--ids", "5", "--dump", folder / "config.json"], "--dump"),
            (["evaluate", "--checkpoint", folder, "--scheme", "f32", "--eval", few, "--json", few], "--json"),
            (["export", "--checkpoint", folder, "--scheme", "f32", "--out", ""], "--out"),
            (["export", "--checkpoint", "", "--scheme", "f32", "--out", out], "--checkpoint"),
            (["run", "--checkpoint", folder, "--ids", "5", "--dump", ""], "--dump"),
        ]:
            with self.subTest(arguments=arguments):
                before = snapshot(self.scratch)
                result = self.call(*arguments)
                self.assertEqual((result.returncode, result.stdout), (2, ""))
                self.assertTrue(result.stderr.startswith(words), result.stderr)
                self.assertEqual(snapshot(self.scratch), before)

    def test_mount_point_in_the_way(self):
        # The last file that is put in place cannot be replaced: the others are as they were.
        out = self.scratch / "out"
        self.done("export", "--quiet", checkpoint=OUTLIER, scheme="f32", out=out)
        before = self.files(out)
        for name in sorted(before):
            if subprocess.run(["mount", "--bind", out / name, out / name], stderr=subprocess.DEVNULL).returncode:
                self.skipTest("needs to mount a file")
            try:
                self.refused([out / name, "cannot replace"], "export", "--quiet", checkpoint=TINY, scheme="f32",
                             out=out)
            finally:
                subprocess.run(["umount", out / name], check=True)
            self.assertEqual(self.files(out), before)


class Interrupt(Case):
    """Exports that are ended on the way: each file is there as a whole or not at all, and what is there belongs together."""

    def export(self, out, *options):
        return [EXPORTER, "export", "--quiet", "--checkpoint", TINY, "--scheme", "f32", "--out", out, *options]

    def files(self, folder):
        return {p.name: p.read_bytes() for p in folder.iterdir()} if folder.exists() else {}

    def test_signals(self):
        whole, other = self.scratch / "whole", self.scratch / "other"
        began = time.monotonic()
        subprocess.run(self.export(whole, "--verify"), check=True, stdout=subprocess.DEVNULL)
        seconds = time.monotonic() - began
        self.done("export", "--quiet", checkpoint=OUTLIER, scheme="f32", out=other)
        new, old = self.files(whole), self.files(other)
        ended = 0
        for number in signal.SIGINT, signal.SIGTERM, signal.SIGKILL:
            for before in {}, old:
                for step in range(12):
                    out = self.scratch / "a" / "b"
                    shutil.rmtree(out.parent, ignore_errors=True)
                    if before:
                        shutil.copytree(other, out)
                    process = subprocess.Popen(self.export(out), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
                    time.sleep(seconds * step / 12)
                    process.send_signal(number)
                    message = process.communicate(timeout=60)[1].decode()
                    found = self.files(out)
                    with self.subTest(signal=number, step=step, before=bool(before)):
                        self.assertIn(process.returncode, (0, -number))
                        ended += process.returncode != 0
                        named = {name: data for name, data in found.items() if not name.endswith(".tmp")}
                        of_new = all(new.get(name) == data for name, data in named.items())
                        of_old = all(before.get(name) == data for name, data in named.items())
                        self.assertTrue(of_new or of_old, sorted(named))
                        if process.returncode and number != signal.SIGKILL:
                            self.assertIn(message, ("", "interrupted: nothing was written\n",
                                                    "interrupted after the files were written\n"))
                            # Without a message it came before the first file was begun, or after the last was there.
                            expected = [new] if "after" in message else [before] if message else [before, new]
                            self.assertIn(found, expected, sorted(found))
                            self.assertEqual(out.parent.exists(), bool(found))
                    subprocess.run(self.export(out), check=True, stdout=subprocess.DEVNULL)
                    self.assertEqual(self.files(out), new)
        self.assertGreater(ended, 12)


if __name__ == "__main__":
    suite = unittest.defaultTestLoader.loadTestsFromTestCase(globals()[sys.argv[3].capitalize()])
    result = unittest.TextTestRunner(verbosity=2).run(suite)
    if result.testsRun == 0:
        sys.exit("no test ran")
    sys.exit(not result.wasSuccessful())
