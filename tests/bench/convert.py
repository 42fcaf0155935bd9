"""wfconvert against llama.cpp's own converter, and against cp: seconds on a warm cache.

Makes a llama-shaped model of about 500 MB of random fp16 weights, then times, in turn: wfconvert
(without fsync), convert_hf_to_gguf.py of the PyPI sdist llama-cpp-python, and cp of the file that
was written. Peak memory is that of the process beyond the files it maps.

    .venv/bin/python tests/bench/convert.py --programs build/cuda --upstream vendor/llama.cpp
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import sentencepiece
from safetensors.numpy import save_file

HIDDEN, FFN, LAYERS, HEADS, KV_HEADS, VOCAB = 1024, 2816, 19, 16, 16, 4096
CONFIG = dict(
    model_type="llama",
    architectures=["LlamaForCausalLM"],
    vocab_size=VOCAB,
    hidden_size=HIDDEN,
    intermediate_size=FFN,
    num_hidden_layers=LAYERS,
    num_attention_heads=HEADS,
    num_key_value_heads=KV_HEADS,
    max_position_embeddings=2048,
    rms_norm_eps=1e-5,
    rope_theta=10000.0,
    tie_word_embeddings=False,
    hidden_act="silu",
    torch_dtype="float16",
)


def make_model(folder: Path) -> None:
    random = np.random.default_rng(1)

    def matrix(rows, columns):
        return (random.standard_normal((rows, columns), np.float32) * 0.02).astype(np.float16)

    weights = {
        "model.embed_tokens.weight": matrix(VOCAB, HIDDEN),
        "lm_head.weight": matrix(VOCAB, HIDDEN),
        "model.norm.weight": np.ones(HIDDEN, np.float16),
    }
    shapes = {f"self_attn.{name}_proj": (HIDDEN, HIDDEN) for name in "qkvo"}
    shapes |= {"mlp.gate_proj": (FFN, HIDDEN), "mlp.up_proj": (FFN, HIDDEN)}
    shapes |= {"mlp.down_proj": (HIDDEN, FFN)}
    for layer in range(LAYERS):
        for name, shape in shapes.items():
            weights[f"model.layers.{layer}.{name}.weight"] = matrix(*shape)
        for name in ("input_layernorm", "post_attention_layernorm"):
            weights[f"model.layers.{layer}.{name}.weight"] = np.ones(HIDDEN, np.float16)
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(CONFIG))
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    # Upstream's converter insists on a tokenizer; a SentencePiece one may be any.
    text = "\n".join(path.read_text() for path in sorted(Path(json.__file__).parent.glob("*.py")))
    (folder / "text.txt").write_text(text)
    sentencepiece.SentencePieceTrainer.train(
        input=folder / "text.txt",
        model_prefix=folder / "tokenizer",
        vocab_size=1000,
        model_type="bpe",
        byte_fallback=True,
        minloglevel=2,
    )
    (folder / "text.txt").unlink()


def timed(command: list, **options) -> float:
    begin = time.perf_counter()
    result = subprocess.run(command, capture_output=True, text=True, **options)
    if result.returncode:
        sys.exit(result.stderr)
    return time.perf_counter() - begin


def peak_anonymous_mb(command: list) -> float:
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    peak = 0
    while process.poll() is None:
        try:
            lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
        except OSError:
            break
        fields = dict(line.split(":", 1) for line in lines if ":" in line)
        peak = max(peak, int(fields.get("RssAnon", "0 kB").split()[0]))
        time.sleep(0.002)
    process.wait()
    return peak / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--programs", type=Path, required=True, help="build folder")
    parser.add_argument("--upstream", type=Path, help="llama.cpp's source, for its converter")
    parser.add_argument("--types", default="tq1_0,f16,f32")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--upstream-rounds", type=int, default=1)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        model, ours, theirs = (Path(scratch) / name for name in ("model", "a.gguf", "b.gguf"))
        make_model(model)
        size = (model / "model.safetensors").stat().st_size
        print(f"model: {size / 1e6:.0f} MB, {os.cpu_count()} cores")
        for outtype in arguments.types.split(","):
            convert = [arguments.programs / "wfconvert", model, "-o", ours, "--outtype", outtype]
            if outtype != "tq1_0":  # what upstream does with a llama: written as they are
                convert += ["--weights", "full-precision"]
            convert.append("--no-sync")
            seconds = {"wfconvert": [], "cp": [], "upstream": []}
            for round in range(arguments.rounds + 1):
                ours.unlink(missing_ok=True)
                took = {"wfconvert": timed(convert)}
                took["cp"] = timed(["cp", ours, theirs])
                theirs.unlink()
                if round > 0:  # the first warms the cache
                    for name, value in took.items():
                        seconds[name].append(value)
            written = ours.stat().st_size
            if arguments.upstream:
                script = arguments.upstream / "convert_hf_to_gguf.py"
                command = [sys.executable, script, model, "--outtype", outtype, "--outfile", theirs]
                for _ in range(arguments.upstream_rounds):
                    seconds["upstream"].append(timed(command, cwd=arguments.upstream))
                    theirs.unlink()
            medians = {name: statistics.median(list_) for name, list_ in seconds.items() if list_}
            line = f"{outtype}: {written / 1e6:.0f} MB"
            for name, value in medians.items():
                line += f", {name} {value:.2f} s"
            for name in ("upstream", "cp"):
                if name in medians:
                    line += f", {medians[name] / medians['wfconvert']:.2f} x the speed of {name}"
            print(f"{line}, {peak_anonymous_mb(convert):.0f} MB of memory", flush=True)


if __name__ == "__main__":
    main()
