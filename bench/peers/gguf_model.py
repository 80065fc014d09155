#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes a GGUF file of random weights at the shape of a Qwen3 config, without a vocabulary: for llama-bench.

Usage: gguf_model.py TYPE FILE < config.json      (TYPE: f32, int8 for Q8_0, int4 for Q4_0)
"""
import json
import sys

import gguf
import numpy as np

TYPES = {"f32": gguf.GGMLQuantizationType.F32, "int8": gguf.GGMLQuantizationType.Q8_0, "int4": gguf.GGMLQuantizationType.Q4_0}


def main():
    kind, file = sys.argv[1:]
    config, kind = json.load(sys.stdin), TYPES[kind]
    random = np.random.default_rng(1)
    hidden, inner, layers = (config[f"{name}"] for name in ("hidden_size", "intermediate_size", "num_hidden_layers"))
    dim, vocabulary = config["head_dim"], config["vocab_size"]
    heads, kv_heads = config["num_attention_heads"], config["num_key_value_heads"]
    block, block_bytes = gguf.GGML_QUANT_SIZES[kind]

    out = gguf.GGUFWriter(file, "qwen3")
    out.add_block_count(layers)
    out.add_context_length(4096)
    out.add_embedding_length(hidden)
    out.add_feed_forward_length(inner)
    out.add_head_count(heads)
    out.add_head_count_kv(kv_heads)
    out.add_key_length(dim)
    out.add_value_length(dim)
    out.add_layer_norm_rms_eps(1e-6)
    out.add_rope_freq_base(1e6)
    out.add_vocab_size(vocabulary)
    out.add_tokenizer_model("no_vocab")

    def matrix(name, rows, columns):
        if block == 1:
            return out.add_tensor(name, random.standard_normal((rows, columns), np.float32) * 0.02)
        data = random.integers(0, 256, (rows, columns // block, block_bytes), np.uint8)
        data[:, :, :2] = np.array([0.01], np.float16).view(np.uint8)  # scales stand first
        out.add_tensor(name, data.reshape(rows, -1), raw_dtype=kind)

    def gain(name, size):
        out.add_tensor(name, np.ones(size, np.float32))

    matrix("token_embd.weight", vocabulary, hidden)
    gain("output_norm.weight", hidden)
    if not config["tie_word_embeddings"]:
        matrix("output.weight", vocabulary, hidden)
    for i in range(layers):
        for name, rows, columns in (("attn_q", heads * dim, hidden), ("attn_k", kv_heads * dim, hidden),
                                    ("attn_v", kv_heads * dim, hidden), ("attn_output", hidden, heads * dim),
                                    ("ffn_gate", inner, hidden), ("ffn_up", inner, hidden), ("ffn_down", hidden, inner)):
            matrix(f"blk.{i}.{name}.weight", rows, columns)
        for name, size in (("attn_norm", hidden), ("ffn_norm", hidden), ("attn_q_norm", dim), ("attn_k_norm", dim)):
            gain(f"blk.{i}.{name}.weight", size)
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()


main()
