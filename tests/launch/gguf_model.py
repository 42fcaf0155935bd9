"""A random bitnet model as a GGUF file, written by PyPI's gguf, and its forward pass in numpy."""

import gguf
import numpy as np
from tokenizers import pre_tokenizers

VOCAB, WIDTH, HIDDEN, LAYERS, HEADS, KV_HEADS, EPSILON, THETA = 258, 64, 128, 2, 4, 2, 1e-5, 10000.0
HEAD = WIDTH // HEADS


def write_bitnet(path, seed: int = 0, tokenizer: bool = True) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)

    def matrix(rows, columns):
        return (random.integers(-1, 2, (rows, columns)) * 0.125).astype(np.float32)

    def gains(size):
        return random.uniform(0.5, 1.5, size).astype(np.float32)

    weights = {
        "token_embd.weight": random.normal(0, 1, (VOCAB, WIDTH)).astype(np.float32),
        "output_norm.weight": gains(WIDTH),
    }
    for layer in range(LAYERS):
        weights |= {
            f"blk.{layer}.{name}.weight": value
            for name, value in {
                "attn_norm": gains(WIDTH),
                "attn_sub_norm": gains(WIDTH),
                "ffn_norm": gains(WIDTH),
                "ffn_sub_norm": gains(HIDDEN),
                "attn_q": matrix(WIDTH, WIDTH),
                "attn_k": matrix(KV_HEADS * HEAD, WIDTH),
                "attn_v": matrix(KV_HEADS * HEAD, WIDTH),
                "attn_output": matrix(WIDTH, WIDTH),
                "ffn_gate": matrix(HIDDEN, WIDTH),
                "ffn_up": matrix(HIDDEN, WIDTH),
                "ffn_down": matrix(WIDTH, HIDDEN),
            }.items()
        }
    writer = gguf.GGUFWriter(path, "bitnet")
    writer.add_context_length(1024)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(HIDDEN)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_layer_norm_rms_eps(EPSILON)
    writer.add_rope_dimension_count(HEAD)
    writer.add_rope_freq_base(THETA)
    writer.add_vocab_size(VOCAB)
    if tokenizer:
        add_tokenizer(writer)
    else:
        writer.add_tokenizer_model("none")
    for name, value in weights.items():
        writer.add_tensor(name, value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return weights


def add_tokenizer(writer):
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    tokens = ["<|end|>", *sorted(pre_tokenizers.ByteLevel.alphabet()), "th"]  # one a byte
    writer.add_token_list(tokens)
    writer.add_token_types([3] + [1] * (VOCAB - 1))
    writer.add_token_merges(["t h"])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(0)
    writer.add_add_bos_token(False)


def reference_logits(weights, tokens) -> np.ndarray:
    """llama.cpp's graph `bitnet` in float64: [len(tokens), VOCAB]."""
    w = {name: value.astype(np.float64) for name, value in weights.items()}
    n = len(tokens)

    def norm(x, gain):
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + EPSILON) * w[gain + ".weight"]

    def linear(x, name):
        return x @ w[name + ".weight"].T

    angles = np.arange(n)[:, None] * THETA ** (-np.arange(0, HEAD, 2) / HEAD)
    cos, sin = np.cos(angles)[:, None], np.sin(angles)[:, None]

    def rotate(x):  # pairs (i, i + HEAD / 2)
        a, b = np.split(x, 2, -1)
        return np.concatenate([a * cos - b * sin, b * cos + a * sin], -1)

    x = w["token_embd.weight"][tokens]
    for layer in range(LAYERS):
        blk = f"blk.{layer}."
        h = norm(x, blk + "attn_norm")
        q = rotate(linear(h, blk + "attn_q").reshape(n, HEADS, HEAD))
        k = rotate(linear(h, blk + "attn_k").reshape(n, KV_HEADS, HEAD))
        v = linear(h, blk + "attn_v").reshape(n, KV_HEADS, HEAD)
        k, v = (np.repeat(t, HEADS // KV_HEADS, 1) for t in (k, v))
        scores = np.einsum("qhd,khd->hqk", q, k) / np.sqrt(HEAD)
        scores[:, np.triu(np.ones((n, n), bool), 1)] = -np.inf
        scores = np.exp(scores - scores.max(-1, keepdims=True))
        attention = np.einsum("hqk,khd->qhd", scores / scores.sum(-1, keepdims=True), v)
        h = norm(attention.reshape(n, WIDTH), blk + "attn_sub_norm")
        x = x + linear(h, blk + "attn_output")
        h = norm(x, blk + "ffn_norm")
        gate = linear(h, blk + "ffn_gate")
        h = gate / (1 + np.exp(-gate)) * linear(h, blk + "ffn_up")
        x = x + linear(norm(h, blk + "ffn_sub_norm"), blk + "ffn_down")
    return norm(x, "output_norm") @ w["token_embd.weight"].T
