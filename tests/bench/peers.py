"""Training throughput of the peers on one GPU: what a user would pick instead.

Each peer trains the same Llama-style model (RMSNorm, GQA, RoPE, SwiGLU, SDPA, fused AdamW) on
random tokens; only the linear layer of the blocks differs. Prints a JSON line per model and
peer: the median step, tokens/s, used_gb = GiB of device memory taken after the steps
(cudaMemGetInfo, less the bare context), peak_gb = peak of live tensors.

    python tests/bench/peers.py --models smollm2_135m --peers bf16_compile fakequant_compile

onebitllms and torchao_int8_compile need the PyPI packages onebitllms==0.0.4 and torchao==0.18.0
(--no-deps is enough); torchao's kernels autotune for minutes per new shape.
"""

import argparse
import json
import time

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint

MODELS = {
    # dim, ffn, layers, heads, kv, head_dim, vocab, batch, seq, relu2, qk-norm
    "smollm2_135m": (576, 1536, 30, 9, 3, 64, 49152, 32, 2048, False, False),
    "qwen3_0.6b": (1024, 3072, 28, 16, 8, 128, 151936, 8, 2048, False, True),
    "bitnet_2b": (2560, 6912, 30, 20, 5, 128, 128256, 4, 2048, True, False),
    "qwen3_4b": (2560, 9728, 36, 32, 8, 128, 151936, 2, 2048, False, True),
}


class RoundSTE(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.round()

    @staticmethod
    def backward(ctx, g):
        return g


class FakeQuantLinear(nn.Linear):
    """The reference STE form: x + (q(x) - x).detach(), both in bf16, then a bf16 GEMM."""

    def forward(self, x):
        w = self.weight
        s = 127.0 / x.abs().amax(-1, keepdim=True).clamp(min=1e-5)
        xq = x + ((x * s).round().clamp(-128, 127) / s - x).detach()
        ws = 1.0 / w.abs().mean().clamp(min=1e-5)
        wq = w + ((w * ws).round().clamp(-1, 1) / ws - w).detach()
        return F.linear(xq, wq)


class OneBitLinear(nn.Linear):
    def forward(self, x):
        from onebitllms import activation_quant_triton, weight_quant_triton

        w = self.weight
        if torch.is_autocast_enabled():
            x, w = x.to(torch.bfloat16), w.to(torch.bfloat16)
        xq = x + (activation_quant_triton(x) - x).detach()
        wq = w + (weight_quant_triton(w) - w).detach()
        return F.linear(xq, wq)


class AoInt8Fn(torch.autograd.Function):
    """int8 tensor-core forward, bf16 backward: the published torchao recipe."""

    @staticmethod
    def forward(ctx, x, w):
        from torchao.prototype.quantized_training.int8_mm import scaled_int8_mm

        shape = x.shape
        x = x.reshape(-1, shape[-1])
        rs = x.abs().amax(1) / 127
        xi = (
            (x.float() * (1.0 / rs.float().clip(1e-5)).view(-1, 1))
            .round()
            .clip(-128, 127)
            .to(torch.int8)
        )
        ts = w.float().abs().mean()
        wi = (w.float() / ts.clip(1e-5)).round().clip(-1, 1).to(torch.int8)
        ts = ts.to(x.dtype)
        ctx.save_for_backward(xi, rs, wi, ts)
        return scaled_int8_mm(xi.contiguous(), wi.contiguous().T, rs, ts.view(1)).view(
            *shape[:-1], w.shape[0]
        )

    @staticmethod
    def backward(ctx, g):
        xi, rs, wi, ts = ctx.saved_tensors
        shape = g.shape
        g = g.reshape(-1, shape[-1])
        gx = (g @ wi.to(g.dtype)) * ts
        gw = g.T @ (xi * rs.view(-1, 1))
        return gx.view(*shape[:-1], wi.shape[1]), gw


class AoInt8Linear(nn.Linear):
    def forward(self, x):
        w = self.weight
        if torch.is_autocast_enabled():
            x, w = x.to(torch.bfloat16), w.to(torch.bfloat16)
        return AoInt8Fn.apply(x, w)


class RMSNorm(nn.Module):
    def __init__(self, d):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(d))

    def forward(self, x):
        return F.rms_norm(x, (x.shape[-1],), self.weight.to(x.dtype), 1e-6)


def rope(x, cos, sin):
    a, b = x.chunk(2, -1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), -1)


class Block(nn.Module):
    def __init__(self, c, L, subln):
        super().__init__()
        d, f, _, h, kv, hd = c[:6]
        self.h, self.kv, self.hd = h, kv, hd
        self.n1, self.n2 = RMSNorm(d), RMSNorm(d)
        self.s1, self.s2 = (
            (RMSNorm(h * hd), RMSNorm(f)) if subln else (nn.Identity(), nn.Identity())
        )
        self.q, self.k, self.v = (
            L(d, h * hd, bias=False),
            L(d, kv * hd, bias=False),
            L(d, kv * hd, bias=False),
        )
        self.o = L(h * hd, d, bias=False)
        self.g, self.u, self.dn = L(d, f, bias=False), L(d, f, bias=False), L(f, d, bias=False)
        self.act = (lambda x: F.relu(x).square()) if c[9] else F.silu
        self.qn, self.kn = (RMSNorm(hd), RMSNorm(hd)) if c[10] else (nn.Identity(), nn.Identity())

    def forward(self, x, cos, sin):
        B, T, _ = x.shape
        n = self.n1(x)
        q = rope(self.qn(self.q(n).view(B, T, self.h, self.hd)).transpose(1, 2), cos, sin)
        k = rope(self.kn(self.k(n).view(B, T, self.kv, self.hd)).transpose(1, 2), cos, sin)
        v = self.v(n).view(B, T, self.kv, self.hd).transpose(1, 2)
        a = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
        x = x + self.o(self.s1(a.transpose(1, 2).reshape(B, T, -1)))
        n = self.n2(x)
        return x + self.dn(self.s2(self.act(self.g(n)) * self.u(n)))


def chunk_loss(x, w, tgt):
    return F.cross_entropy(F.linear(x, w).float(), tgt, reduction="sum")


class LM(nn.Module):
    def __init__(self, c, L, subln, chunk):
        super().__init__()
        self.c, self.chunk = c, chunk
        self.emb = nn.Embedding(c[6], c[0])
        self.blocks = nn.ModuleList(Block(c, L, subln) for _ in range(c[2]))
        self.norm = RMSNorm(c[0])
        hd = c[5]
        f = torch.outer(torch.arange(c[8]).float(), 1e4 ** (-torch.arange(0, hd, 2).float() / hd))
        self.register_buffer("cos", f.cos().bfloat16())
        self.register_buffer("sin", f.sin().bfloat16())

    def forward(self, idx, tgt):
        x = self.emb(idx).bfloat16()
        for b in self.blocks:
            x = b(x, self.cos, self.sin)
        x, tgt = self.norm(x), tgt.reshape(-1)
        if self.chunk:  # logits recomputed in backward, one chunk of tokens at a time
            xs, ts = x.view(-1, x.shape[-1]).split(self.chunk), tgt.split(self.chunk)
            return (
                sum(
                    checkpoint(chunk_loss, a, self.emb.weight, b, use_reentrant=False)
                    for a, b in zip(xs, ts, strict=True)
                )
                / tgt.numel()
            )
        logits = F.linear(x, self.emb.weight)
        return F.cross_entropy(logits.view(-1, logits.shape[-1]), tgt)


PEERS = {
    # linear layer, SubLN, torch.compile, tokens per chunk of the head (0: all at once)
    "bf16_eager": (nn.Linear, False, False, 0),
    "bf16_compile": (nn.Linear, False, True, 0),
    "bf16_compile_chunked": (nn.Linear, False, True, 4096),
    "fakequant_eager": (FakeQuantLinear, True, False, 0),
    "fakequant_compile": (FakeQuantLinear, True, True, 0),
    "onebitllms": (OneBitLinear, True, False, 0),
    "torchao_int8_compile": (AoInt8Linear, True, True, 0),
}


def run(model, peer, steps, batch):
    c = list(MODELS[model])
    B, T = batch or c[7], c[8]
    L, subln, comp, chunk = PEERS[peer]
    torch.manual_seed(0)
    torch.zeros(1, device="cuda")
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.mem_get_info()[0]
    with torch.device("cuda"):
        m = LM(c, L, subln, chunk)
    for p in m.parameters():
        if p.dim() > 1:
            nn.init.normal_(p, std=0.02)
    opt = torch.optim.AdamW(m.parameters(), lr=1e-4, fused=True)
    f = torch.compile(m) if comp else m
    idx = torch.randint(0, c[6], (B, T + 1), device="cuda")
    ts = []
    t_start = time.time()
    for _ in range(steps):
        torch.cuda.synchronize()
        t = time.time()
        with torch.autocast("cuda", dtype=torch.bfloat16):
            loss = f(idx[:, :-1], idx[:, 1:])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(m.parameters(), 1.0, foreach=True)
        opt.step()
        opt.zero_grad(set_to_none=True)
        torch.cuda.synchronize()
        ts.append(time.time() - t)
    ts = sorted(ts[4:])
    dt = ts[len(ts) // 2]
    n_lin = c[2] * (c[0] * c[3] * c[5] * 2 + c[0] * c[4] * c[5] * 2 + 3 * c[0] * c[1])
    attention = 6 * c[2] * c[3] * c[5] * T * T * B  # causal: half
    flops = 6 * (n_lin + c[0] * c[6]) * B * T + attention
    print(
        json.dumps(
            dict(
                model=model,
                peer=peer,
                batch=B,
                seq=T,
                ms=round(dt * 1e3, 1),
                tok_s=round(B * T / dt),
                mfu_bf16_990=round(flops / dt / 990e12, 3),
                used_gb=round((before - torch.cuda.mem_get_info()[0]) / 2**30, 1),
                peak_gb=round(torch.cuda.max_memory_allocated() / 2**30, 1),
                loss=round(loss.item(), 3),
                warm_s=round(time.time() - t_start - sum(ts), 1),
            )
        ),
        flush=True,
    )


if __name__ == "__main__":
    ap = argparse.ArgumentParser()
    ap.add_argument("--models", nargs="+", default=["smollm2_135m"])
    ap.add_argument("--peers", nargs="+", default=list(PEERS))
    ap.add_argument("--steps", type=int, default=14)
    ap.add_argument("--batch", type=int, default=0)
    a = ap.parse_args()
    torch.set_float32_matmul_precision("high")
    for mo in a.models:
        for p in a.peers:
            try:
                run(mo, p, a.steps, a.batch)
            except Exception as e:
                print(json.dumps(dict(model=mo, peer=p, error=repr(e)[:300])), flush=True)
            torch._dynamo.reset()
