"""One training step on the CPU: wftrain against PyTorch eager, same fake-quantised model.

Both train the same llama-shaped model with SubLN (BitNet b1.58, λ = 1) on random tokens with AdamW
and gradient clipping in fp32, in turn, several times; prints the tokens per second of each round
and the medians.

    .venv/bin/python tests/bench/cpu_step.py --programs build/cuda
"""

import argparse
import json
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

SHAPE = dict(hidden=256, ffn=768, layers=4, heads=4, kv_heads=2, head_dim=64, vocab=4096)
ROWS, LENGTH = 4, 256
CONFIGS = Path(__file__).resolve().parents[2] / "configs"


class BitLinear(nn.Linear):
    """x + (Q(x) - x).detach() and the same for the weight: the usual straight-through form."""

    def __init__(self, inputs, outputs):
        super().__init__(inputs, outputs, bias=False)

    def forward(self, x):
        scale = 127 / x.abs().amax(-1, keepdim=True).clamp(min=1e-5)
        xq = x + ((x * scale).round().clamp(-128, 127) / scale - x).detach()
        w = self.weight
        inverse = 1 / w.abs().mean().clamp(min=1e-5)
        wq = w + ((w * inverse).round().clamp(-1, 1) / inverse - w).detach()
        return F.linear(xq, wq)


def rotate(x, cos, sin):
    a, b = x.chunk(2, -1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), -1)


class Block(nn.Module):
    def __init__(self, hidden, ffn, heads, kv_heads, head_dim):
        super().__init__()
        self.heads, self.kv_heads, self.head_dim = heads, kv_heads, head_dim
        self.norm1, self.norm2 = nn.RMSNorm(hidden, 1e-5), nn.RMSNorm(hidden, 1e-5)
        self.sub1, self.sub2 = nn.RMSNorm(heads * head_dim, 1e-5), nn.RMSNorm(ffn, 1e-5)
        self.q, self.o = BitLinear(hidden, heads * head_dim), BitLinear(heads * head_dim, hidden)
        self.k = BitLinear(hidden, kv_heads * head_dim)
        self.v = BitLinear(hidden, kv_heads * head_dim)
        self.gate, self.up = BitLinear(hidden, ffn), BitLinear(hidden, ffn)
        self.down = BitLinear(ffn, hidden)

    def forward(self, x, cos, sin):
        rows, length, _ = x.shape
        n = self.norm1(x)

        def split(y, heads):
            return y.view(rows, length, heads, self.head_dim).transpose(1, 2)

        q = rotate(split(self.q(n), self.heads), cos, sin)
        k = rotate(split(self.k(n), self.kv_heads), cos, sin)
        a = F.scaled_dot_product_attention(
            q, k, split(self.v(n), self.kv_heads), is_causal=True, enable_gqa=True
        )
        x = x + self.o(self.sub1(a.transpose(1, 2).reshape(rows, length, -1)))
        n = self.norm2(x)
        return x + self.down(self.sub2(F.silu(self.gate(n)) * self.up(n)))


class Model(nn.Module):
    def __init__(self, hidden, ffn, layers, heads, kv_heads, head_dim, vocab):
        super().__init__()
        self.embedding = nn.Embedding(vocab, hidden)
        self.blocks = nn.ModuleList(
            Block(hidden, ffn, heads, kv_heads, head_dim) for _ in range(layers)
        )
        self.norm = nn.RMSNorm(hidden, 1e-5)
        frequency = 1e4 ** (-torch.arange(0, head_dim, 2) / head_dim)
        angle = torch.outer(torch.arange(LENGTH), frequency)
        self.register_buffer("cos", angle.cos())
        self.register_buffer("sin", angle.sin())

    def forward(self, tokens, labels):
        x = self.embedding(tokens)
        for block in self.blocks:
            x = block(x, self.cos, self.sin)
        logits = F.linear(self.norm(x), self.embedding.weight)
        return F.cross_entropy(logits.flatten(0, 1), labels.flatten())


def peer_rate(steps: int) -> float:
    torch.manual_seed(0)
    model = Model(**SHAPE)
    for parameter in model.parameters():
        if parameter.dim() > 1:
            nn.init.normal_(parameter, std=0.02)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    times = []
    for _ in range(steps):
        tokens = torch.randint(0, SHAPE["vocab"], (ROWS, LENGTH + 1))
        begin = time.perf_counter()
        model(tokens[:, :-1], tokens[:, 1:]).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        times.append(time.perf_counter() - begin)
    return ROWS * LENGTH / statistics.median(times[steps // 4 :])


def our_rate(programs: Path, steps: int, folder: Path) -> float:
    config = dict(
        model_type="bitnet",
        hidden_act="silu",
        vocab_size=SHAPE["vocab"],
        hidden_size=SHAPE["hidden"],
        intermediate_size=SHAPE["ffn"],
        num_hidden_layers=SHAPE["layers"],
        num_attention_heads=SHAPE["heads"],
        num_key_value_heads=SHAPE["kv_heads"],
        head_dim=SHAPE["head_dim"],
        max_position_embeddings=LENGTH,
        rope_theta=10000.0,
        tie_word_embeddings=True,
    )
    (folder / "config.json").write_text(json.dumps(config))
    name = f"run{time.monotonic_ns()}"
    overrides = [f"folder={folder}", f"name={name}", f"model.path={folder}", "device=cpu"]
    overrides += ["model.init=random", "data={kind: synthetic}", f"batch.rows={ROWS}"]
    overrides += [f"batch.sequence_length={LENGTH}", f"steps={steps}", 'evaluate.path=""']
    overrides += ["log.every=1", f"log.layers_every={10 * steps}", "lr.value=1e-4"]
    command = [str(programs / "wftrain"), "--config", str(CONFIGS / "stage2.yaml"), *overrides]
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
    lines = map(json.loads, (folder / name / "metrics.jsonl").read_text().splitlines())
    rates = [line["tokens_per_s"] for line in lines if line["kind"] == "train"]
    return statistics.median(rates[steps // 4 :])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--programs", type=Path, required=True, help="folder of wftrain")
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    ours, peers = [], []
    with tempfile.TemporaryDirectory() as scratch:
        for number in range(options.rounds):
            ours.append(our_rate(options.programs, options.steps, Path(scratch)))
            peers.append(peer_rate(options.steps))
            print(
                f"round {number + 1}: wftrain {ours[-1]:.0f}, PyTorch eager {peers[-1]:.0f} tok/s"
            )
    a, b = statistics.median(ours), statistics.median(peers)
    print(f"median: wftrain {a:.0f}, PyTorch eager {b:.0f} tok/s, ratio {a / b:.2f}")


if __name__ == "__main__":
    main()
