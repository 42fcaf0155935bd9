"""Random tiny models of every family by transformers: the truth for parity_test.

Usage: reference.py OUT. Writes OUT/CASE/ (a Hugging Face folder) and OUT/CASE.safetensors holding
`tokens` [N] of several documents one after another, `lengths` [D], `logits` [N, V] of each document
run alone, and `grad.NAME` of the mean next-token loss. Weights are drawn wide, and gains and biases
away from 1 and 0, so that a mistake shows.
"""

import fcntl
import hashlib
import json
import os
import pathlib
import shutil
import sys

os.environ["TORCHDYNAMO_DISABLE"] = "1"  # BitNet's packing helpers would compile for 20 s

import torch
import transformers
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModelForCausalLM

LENGTHS = [13, 1, 24, 10]
BASE = dict(
    vocab_size=96,
    hidden_size=64,
    intermediate_size=96,
    num_hidden_layers=3,
    num_attention_heads=4,
    num_key_value_heads=2,
    max_position_embeddings=256,
    rms_norm_eps=1e-5,
)
LLAMA3 = dict(
    rope_type="llama3",
    rope_theta=500.0,
    factor=4.0,
    low_freq_factor=1.0,
    high_freq_factor=4.0,
    original_max_position_embeddings=16,
)
CASES = {
    "llama": dict(model_type="llama", tie_word_embeddings=True),
    "llama_biases": dict(model_type="llama", attention_bias=True, mlp_bias=True),
    "llama_llama3_rope": dict(model_type="llama", rope_parameters=LLAMA3),
    "llama_llama3_rope_old_spelling": dict(model_type="llama", rope_parameters=LLAMA3),
    "llama_linear_rope": dict(
        model_type="llama", rope_parameters=dict(rope_type="linear", rope_theta=100.0, factor=2.0)
    ),
    "qwen2": dict(model_type="qwen2", rope_parameters=dict(rope_type="default", rope_theta=1000.0)),
    "qwen3": dict(model_type="qwen3", head_dim=32, tie_word_embeddings=True),
    "bitnet_silu": dict(model_type="bitnet", hidden_act="silu", tie_word_embeddings=True),
    "bitnet_relu2": dict(model_type="bitnet", hidden_act="relu2"),
    "bitnet_online": dict(model_type="bitnet", hidden_act="relu2", tie_word_embeddings=True),
}


def randomize(model: torch.nn.Module) -> None:
    for name, value in model.named_parameters():
        if name.endswith("bias"):
            value.data.normal_(std=0.2)
        elif value.dim() == 1:
            value.data.normal_(mean=1.0, std=0.3)
        else:
            value.data.normal_(std=0.15)


def spell_as_transformers_4(config_file: pathlib.Path) -> None:
    config = json.loads(config_file.read_text())
    rope = config.pop("rope_parameters")
    config["rope_theta"] = rope.pop("rope_theta")
    config["rope_scaling"] = rope
    config_file.write_text(json.dumps(config, indent=2))


def write_case(out: pathlib.Path, name: str, options: dict) -> None:
    torch.manual_seed(sum(map(ord, name)))
    options = dict(options)
    config = AutoConfig.for_model(options.pop("model_type"), **{**BASE, **options})
    config._attn_implementation = "eager"
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    randomize(model)
    model.save_pretrained(out / name)
    if name.endswith("_old_spelling"):
        spell_as_transformers_4(out / name / "config.json")
    if name == "bitnet_online":
        config_file = out / name / "config.json"
        config_json = json.loads(config_file.read_text())
        config_json["quantization_config"] = dict(
            quant_method="bitnet", linear_class="autobitlinear", quantization_mode="online"
        )
        config_file.write_text(json.dumps(config_json, indent=2))
        model = AutoModelForCausalLM.from_pretrained(
            out / name, dtype=torch.float32, attn_implementation="eager"
        )
        model.train()
    tokens = torch.randint(0, BASE["vocab_size"], (sum(LENGTHS),))
    logits = [model(document[None]).logits[0] for document in tokens.split(LENGTHS)]
    scored = torch.cat([each[:-1] for each in logits])
    labels = torch.cat([document[1:] for document in tokens.split(LENGTHS)])
    torch.nn.functional.cross_entropy(scored, labels).backward()
    tensors = {
        "tokens": tokens,
        "lengths": torch.tensor(LENGTHS),
        "logits": torch.cat(logits).detach(),
    }
    for key, value in model.named_parameters():
        tensors["grad." + key] = value.grad.contiguous()
    save_file(tensors, out / f"{name}.safetensors")


def write_all(folder: pathlib.Path) -> None:
    """Once for tests that run side by side: the first makes the cases, the others wait for them."""
    made_by = hashlib.sha256(pathlib.Path(__file__).read_bytes()).hexdigest()
    stamp = folder / "made_by"
    with open(f"{folder}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if stamp.exists() and stamp.read_text() == made_by + transformers.__version__:
            return
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for case, settings in CASES.items():
            write_case(folder, case, settings)
        stamp.write_text(made_by + transformers.__version__)


if __name__ == "__main__":
    write_all(pathlib.Path(sys.argv[1]))
