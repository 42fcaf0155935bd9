"""wfconvert as a person runs it: exit codes, messages, what is left behind; the real llama.cpp."""

import json
import re
import signal
import struct
import subprocess
import time

import numpy as np
import pytest
from conftest import MODEL, find_programs
from safetensors.numpy import load_file, save_file

GGUF_SHAPE = MODEL | dict(hidden_size=256, intermediate_size=512, head_dim=64)
QUANTISED = dict(quant_method="bitnet", linear_class="autobitlinear", quantization_mode="online")


def make_folder(folder, scale=0.1, **changes):
    """A model of random weights, as transformers would save it."""
    config = GGUF_SHAPE | changes
    d, f = config["hidden_size"], config["intermediate_size"]
    kv = config["num_key_value_heads"] * config["head_dim"]
    random = np.random.default_rng(1)

    def matrix(rows, columns):
        return (random.standard_normal((rows, columns), np.float32) * scale).astype(np.float16)

    weights = {
        "model.embed_tokens.weight": matrix(config["vocab_size"], d),
        "model.norm.weight": np.ones(d, np.float16),
    }
    for i in range(config["num_hidden_layers"]):
        layer = f"model.layers.{i}."
        weights |= {
            f"{layer}{name}_layernorm.weight": np.ones(d, np.float16)
            for name in ("input", "post_attention")
        }
        shapes = dict(q=(d, d), k=(kv, d), v=(kv, d), o=(d, d))
        for name, shape in shapes.items():
            weights[f"{layer}self_attn.{name}_proj.weight"] = matrix(*shape)
        for name, shape in dict(gate=(f, d), up=(f, d), down=(d, f)).items():
            weights[f"{layer}mlp.{name}_proj.weight"] = matrix(*shape)
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    return folder


@pytest.fixture
def model(tmp_path):
    return make_folder(tmp_path / "model", quantization_config=QUANTISED)


def wfconvert(*arguments, expect=0):
    command = [find_programs() / "wfconvert", *map(str, arguments)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert result.returncode == expect, result.stderr + result.stdout
    return result.stdout + result.stderr


def test_a_folder_becomes_a_file_that_validates_and_becomes_a_folder_again(model, tmp_path):
    file = tmp_path / "model.gguf"
    output = wfconvert(model, "-o", file, "--validate")
    assert "architecture llama" in output
    for check in (
        "size",
        "metadata",
        "tensors",
        "codes",
        "scales",
        "double absmean",
        "raw weights",
    ):
        assert re.search(rf"^{check} +ok ", output, re.M), output
    listing = wfconvert(file, "--inspect")
    assert re.search(r"^general.architecture +string +\"llama\"$", listing, re.M)
    assert re.search(r"^blk.1.ffn_down.weight +TQ1_0 +256x512 .*% zeros, scale 1?", listing, re.M)
    assert re.search(r"^token_embd.weight +F16 ", listing, re.M)
    wfconvert(file, "-o", tmp_path / "back")
    wfconvert(tmp_path / "back", "-o", file, "--validate-only")
    packed = load_file(tmp_path / "back" / "model.safetensors")
    assert packed["model.layers.0.mlp.up_proj.weight"].dtype == np.uint8


def test_a_changed_code_fails_the_validation_with_exit_code_1(model, tmp_path):
    file = tmp_path / "model.gguf"
    wfconvert(model, "-o", file, "--outtype", "tq2_0")
    raw = bytearray(file.read_bytes())
    raw[-10_000] ^= 1  # of the last down_proj
    file.write_bytes(raw)
    output = wfconvert(model, "-o", file, "--outtype", "tq2_0", "--validate-only", expect=1)
    assert re.search(r"^codes +FAILED .*blk.1.ffn_down.weight", output, re.M), output


def test_llama_cpp_reads_the_file(model, tmp_path):
    from wf.llama import Llama

    logits = {}
    for outtype in ("tq1_0", "tq2_0", "f32"):
        file = tmp_path / f"{outtype}.gguf"
        wfconvert(model, "-o", file, "--outtype", outtype, "--embedding-type", "f32")
        with Llama(file) as llama:
            logits[outtype] = llama.logits([1, 5, 9, 200])
    assert np.array_equal(logits["tq1_0"], logits["tq2_0"])
    assert np.linalg.norm(logits["tq1_0"] - logits["f32"]) < 0.05 * np.linalg.norm(logits["f32"])


def test_unmarked_weights_are_taken_as_ternary_and_that_is_said(tmp_path):
    model = make_folder(tmp_path / "model")
    assert "taken as trained ternary" in wfconvert(model, "-o", tmp_path / "a.gguf")
    wfconvert(model, "-o", tmp_path / "a.gguf", "--weights", "full-precision", expect=1)
    plain = ("--weights", "full-precision", "--outtype", "f16", "--validate")
    wfconvert(model, "-o", tmp_path / "a.gguf", *plain)
    stored = load_file(model / "model.safetensors")["model.layers.0.mlp.up_proj.weight"]
    assert stored.tobytes() in (tmp_path / "a.gguf").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "expect", "says"),
    [
        ((), 2, "-o is missing"),
        (("-o", "OUT", "--outtype", "q4_0"), 2, "q4_0"),
        (("-o", "OUT", "--outtype", "i2_s"), 1, "llama.cpp does not read i2_s"),
        (("-o", "OUT", "--arch", "bitnet"), 1, "sub-norms"),
        (("-o", "/nowhere/model.gguf"), 1, "/nowhere/model.gguf"),
    ],
)
def test_wrong_use_is_answered_in_one_sentence(model, tmp_path, arguments, expect, says):
    arguments = [str(tmp_path / "out.gguf") if a == "OUT" else a for a in arguments]
    assert says in wfconvert(model, *arguments, expect=expect)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model"]


def test_a_file_that_is_not_one_is_refused(tmp_path):
    (tmp_path / "bad.gguf").write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 2**60, 2**60))
    assert "copied in full" in wfconvert(tmp_path / "bad.gguf", "--inspect", expect=1)
    assert "no such folder" in wfconvert(tmp_path / "none", "-o", tmp_path / "a.gguf", expect=1)


def test_interrupted_it_leaves_nothing_behind(tmp_path):
    model = make_folder(
        tmp_path / "model",
        num_hidden_layers=24,
        hidden_size=1024,
        intermediate_size=4096,
        head_dim=256,
    )
    command = [find_programs() / "wfconvert", model, "-o", tmp_path / "a.gguf", "--outtype", "f32"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    while not (tmp_path / "a.gguf.partial").exists() and process.poll() is None:
        time.sleep(0.001)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGINT, said
    assert "nothing was written" in said
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model"]
