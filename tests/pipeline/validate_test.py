"""`wfconvert --validate`: logits of the real llama.cpp pass for every type and fail for every way
in which GGUF files of ternary models are known to be wrong."""

import json
import re
import subprocess

import gguf
import numpy as np
import pytest
from conftest import MODEL, find_programs
from safetensors.numpy import load_file, save_file

SHAPE = MODEL | dict(hidden_size=256, intermediate_size=512, head_dim=64, num_hidden_layers=4)
ONLINE = dict(quant_method="bitnet", linear_class="autobitlinear", quantization_mode="online")
LINEAR = re.compile(r"blk\.\d+\.(attn_[qkv]|attn_output|ffn_(gate|up|down))\.weight")


def make_model(folder, sub_norm, embedding_std):
    """Random ternary masters; the embedding's size decides how flat the logits are."""
    random = np.random.default_rng(5)
    d, f = SHAPE["hidden_size"], SHAPE["intermediate_size"]
    kv = SHAPE["num_key_value_heads"] * SHAPE["head_dim"]

    def matrix(rows, columns, std=0.12):
        return random.normal(0, std, (rows, columns)).astype(np.float32)

    def gains(size):
        return random.uniform(0.7, 1.3, size).astype(np.float32)

    weights = {"model.embed_tokens.weight": matrix(SHAPE["vocab_size"], d, embedding_std)}
    weights["model.norm.weight"] = gains(d)
    linears = dict(q=(d, d), k=(kv, d), v=(kv, d), o=(d, d), gate=(f, d), up=(f, d), down=(d, f))
    for i in range(SHAPE["num_hidden_layers"]):
        layer = f"model.layers.{i}."
        norms = {"input_layernorm": d, "post_attention_layernorm": d}
        if sub_norm:
            norms |= {"self_attn.attn_sub_norm": d, "mlp.ffn_sub_norm": f}
        weights |= {f"{layer}{name}.weight": gains(size) for name, size in norms.items()}
        for name, shape in linears.items():
            part = "self_attn" if name in "qkvo" else "mlp"
            weights[f"{layer}{part}.{name}_proj.weight"] = matrix(*shape)
    config = SHAPE | dict(quantization_config=ONLINE)
    if sub_norm:
        config |= dict(model_type="bitnet", architectures=["BitNetForCausalLM"])
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("validate")


@pytest.fixture(scope="module", params=["bitnet", "llama", "flat"])
def model(request, folder):
    std = 0.02 if request.param == "flat" else 0.12
    return make_model(folder / request.param, request.param != "llama", std)


def validate(*arguments):
    command = [find_programs() / "wfconvert", *map(str, arguments)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300)
    rows = {line.split()[0]: line.split()[1] for line in result.stdout.splitlines() if line}
    return result.returncode, rows, result.stdout + result.stderr


@pytest.mark.parametrize("outtype", ["f32", "f16", "bf16", "q8_0", "q2_0", "tq2_0", "tq1_0"])
def test_whole_files_pass(model, outtype, tmp_path):
    out = tmp_path / "model.gguf"
    code, rows, text = validate(model, "-o", out, "--outtype", outtype, "--validate")
    print(text)
    assert code == 0, text
    assert rows["logits"] == "ok", text
    if outtype == "f32":
        assert "64 of llama.cpp's next 64 tokens are ours too" in text


def shuffled(tensors, _):
    """Rows of every matrix in another order."""
    for name, data in tensors.items():
        if LINEAR.fullmatch(name):
            data[:] = data[np.random.default_rng(1).permutation(len(data))]


def double_quantised(tensors, _):
    """The scale is the mean of what was ternary already: shrunk by the share of zeros."""
    for name, data in tensors.items():
        if name.endswith(".scale"):
            weight = tensors[name.replace(".scale", ".weight")]
            codes = gguf.quants.dequantize(weight, gguf.GGMLQuantizationType.TQ2_0)
            data[:] *= np.abs(codes).mean()


def inverted(tensors, _):
    for name, data in tensors.items():
        if name.endswith(".scale"):
            data[:] = 1 / data


def raw_quantised(tensors, latent):
    """What an engine's own quantiser makes of masters: the largest of a block is the scale."""
    for name, data in tensors.items():
        if name.endswith(".scale"):
            data[:] = 1
        if LINEAR.fullmatch(name):
            data[:] = gguf.quants.quantize(latent[name], gguf.GGMLQuantizationType.TQ2_0)


NAMES = {f"attn_{c}": f"self_attn.{c}_proj" for c in "qkv"} | {"attn_output": "self_attn.o_proj"}
NAMES |= {f"ffn_{n}": f"mlp.{n}_proj" for n in ("gate", "up", "down")}


def latent_by_gguf_name(model):
    weights = load_file(model / "model.safetensors")
    return {
        f"blk.{i}.{ours}.weight": weights[f"model.layers.{i}.{theirs}.weight"]
        for i in range(SHAPE["num_hidden_layers"])
        for ours, theirs in NAMES.items()
    }


FOUND_BY = {
    shuffled: "codes",
    double_quantised: "double absmean",
    inverted: "inverted scale",
    raw_quantised: "raw weights",
}


def validate_damaged(model, damage, out, outtype="tq2_0"):
    assert validate(model, "-o", out, "--outtype", outtype)[0] == 0
    reader = gguf.GGUFReader(out, "r+")
    damage({tensor.name: tensor.data for tensor in reader.tensors}, latent_by_gguf_name(model))
    del reader
    return validate(model, "-o", out, "--outtype", outtype, "--validate-only")


@pytest.mark.parametrize("damage", FOUND_BY)
def test_logits_tell_a_wrong_file(model, damage, tmp_path):
    code, rows, text = validate_damaged(model, damage, tmp_path / "model.gguf")
    print(text)
    assert code == 1
    assert rows["logits"] == "FAILED", text
    assert re.search(rf"^{FOUND_BY[damage]} +FAILED", text, re.M), text


def larger(tensors, _):
    """Scales are a hundredth too large."""
    for name, data in tensors.items():
        if LINEAR.fullmatch(name):
            data[:] *= 1.01


def test_a_file_of_f32_is_compared_exactly(model, tmp_path):
    code, rows, text = validate_damaged(model, larger, tmp_path / "model.gguf", "f32")
    assert code == 1
    assert rows["logits"] == "FAILED", text
    _, rows, text = validate_damaged(model, shuffled, tmp_path / "model.gguf", "f32")
    assert rows["greedy"] == "FAILED", text


def test_no_limit_that_is_fixed_would_do(tmp_path):
    """A wrong file of a model with flat logits is nearer to it than a whole one of a steep one."""

    def kl(text):
        return float(re.search(r"^logits .* KL ([\d.e-]+),", text, re.M)[1])

    steep, flat = (make_model(tmp_path / str(std), True, std) for std in (1, 0.02))
    code, _, whole = validate(steep, "-o", tmp_path / "a.gguf", "--outtype", "q2_0", "--validate")
    assert code == 0, whole
    wrong = validate_damaged(flat, double_quantised, tmp_path / "b.gguf")[2]
    assert kl(wrong) < kl(whole)


@pytest.mark.parametrize("name", ["token_embd.weight", "blk.3.ffn_norm.weight"])
def test_one_altered_value_is_seen(model, name, tmp_path):
    out = tmp_path / "model.gguf"
    assert validate(model, "-o", out)[0] == 0
    reader = gguf.GGUFReader(out, "r+")
    (data,) = [tensor.data for tensor in reader.tensors if tensor.name == name]
    data.flat[-3] = np.nextafter(data.flat[-3], data.dtype.type(9))  # by the least step there is
    del reader
    code, rows, text = validate(model, "-o", out, "--validate-only")
    assert code == 1
    assert rows["floats"] == "FAILED" and name in text, text
    assert rows["codes"] == rows["logits"] == "ok", text


def test_weights_that_are_ternary_already_pass(model, tmp_path):
    """Their scale is the magnitude; a second absmean, also in our own forward, would shrink it."""
    weights = load_file(model / "model.safetensors")
    for name, values in weights.items():
        if name.endswith("_proj.weight"):
            scale = np.float32(np.abs(values.astype(np.float64)).mean())
            weights[name] = np.clip(np.rint(values * (1 / scale)), -1, 1) * scale
    folder = tmp_path / "dequantised"
    folder.mkdir()
    (folder / "config.json").write_text((model / "config.json").read_text())
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    arguments = "-o", tmp_path / "model.gguf", "--outtype", "f32", "--validate"
    code, _, text = validate(folder, *arguments)
    assert code == 0, text
    assert "ternary already" in text


def test_a_file_that_llama_cpp_refuses_fails(model, tmp_path):
    out = tmp_path / "model.gguf"
    assert validate(model, "-o", out)[0] == 0
    content = out.read_bytes()
    kind = b"bitnet" if b"bitnet.block" in content else b"llama"
    out.write_bytes(content.replace(kind, kind[:-1] + b"x"))
    code, rows, text = validate(model, "-o", out, "--validate-only")
    assert code == 1
    assert rows["logits"] == "FAILED"
    assert "unknown model architecture" in text
