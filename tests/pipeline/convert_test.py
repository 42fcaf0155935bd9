"""wfconvert as a person runs it: exit codes, messages, what is left behind; the real llama.cpp."""

import fcntl
import json
import re
import resource
import shutil
import signal
import struct
import subprocess
import time

import gguf
import numpy as np
import pytest
from conftest import MODEL, find_programs, shown_on_terminal
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
    down = load_file(model / "model.safetensors")["model.layers.1.mlp.down_proj.weight"]
    scale = np.abs(down.astype(np.float64)).mean()
    zeros, shown = re.search(
        r"^blk.1.ffn_down.weight +TQ1_0 +256x512 +\d+ +([\d.]+) % zeros, scale ([\d.]+)$",
        listing,
        re.M,
    ).groups()
    assert float(zeros) == pytest.approx(100 * (np.abs(down) < scale / 2).mean(), abs=0.06)
    assert float(shown) == pytest.approx(scale, rel=1e-6)
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


@pytest.mark.parametrize("blocks", [slice(0, 1), slice(None)], ids=["first", "all"])
def test_blocks_of_scale_zero_fail_the_validation(model, tmp_path, blocks):
    """Their codes are there, and decode to zeros."""
    file, outtype = tmp_path / "a.gguf", ("--outtype", "tq2_0")
    wfconvert(model, "-o", file, *outtype)
    tensors = {tensor.name: tensor.data for tensor in gguf.GGUFReader(file, "r+").tensors}
    for scale in (64, 66 + 64):  # two blocks a row
        tensors["blk.1.ffn_down.weight"][blocks, scale : scale + 2] = 0
    table = wfconvert(model, "-o", file, *outtype, "--validate-only", expect=1)
    assert re.search("^codes +FAILED 1 of 14 .*'blk.1.ffn_down.weight'", table, re.M), table


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
        (("-o", "/nowhere/model.gguf"), 1, "there is no folder /nowhere"),
        (("-o", "MODEL"), 1, "-o wants the name of the .gguf file"),
        (("-o", "MODEL/model.safetensors"), 1, "exists and is no GGUF file"),
        (("-o", "OUT", "--validate-only"), 1, "no such file; --validate-only"),
        (("--inspect",), 1, "expected a .gguf file"),
        (("-o", "OUT", "--companions", "MODEL"), 1, "--companions is for the reverse"),
    ],
)
def test_wrong_use_is_answered_in_one_sentence(model, tmp_path, arguments, expect, says):
    before = (model / "model.safetensors").read_bytes()
    places = {"OUT": tmp_path / "out.gguf", "MODEL": model}
    for name, place in places.items():
        arguments = [argument.replace(name, str(place)) for argument in arguments]
    assert says in wfconvert(model, *arguments, expect=expect)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model"]
    assert (model / "model.safetensors").read_bytes() == before


def change(model, name, edit):
    weights = load_file(model / "model.safetensors")
    edit(weights[name])
    save_file(weights, model / "model.safetensors", {"format": "pt"})


@pytest.mark.parametrize("value", [np.nan, -np.inf])
@pytest.mark.parametrize("outtype", ["tq1_0", "f32"])
@pytest.mark.parametrize("name", ["embed_tokens", "norm", "layers.1.self_attn.v_proj"])
def test_values_that_are_no_numbers_are_refused(model, tmp_path, name, outtype, value):
    def spoil(weight):
        weight.flat[-3] = value

    change(model, f"model.{name}.weight", spoil)
    said = wfconvert(model, "-o", tmp_path / "a.gguf", "--outtype", outtype, expect=1)
    assert f"tensor 'model.{name}.weight'" in said and "not finite" in said
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model"]


def test_scales_that_no_half_has_are_kept_in_f32_and_that_is_said(tmp_path):
    model = make_folder(tmp_path / "model", scale=3e-5, quantization_config=QUANTISED)
    options = ("-o", tmp_path / "a.gguf", "--engine", "microsoft-2024", "--outtype", "tq2_0")
    said = wfconvert(model, *options, "--validate")
    for matrices in ("12 matrices of 256 inputs", "2 matrices of 512 inputs"):
        assert f"{matrices} are f32 instead of tq2_0, without loss: their scale is too" in said


def test_values_that_no_half_has_are_refused(model, tmp_path):
    weights = load_file(model / "model.safetensors")
    embedding = weights["model.embed_tokens.weight"].astype(np.float32)
    embedding[7, 9] = 70_000
    save_file(weights | {"model.embed_tokens.weight": embedding}, model / "model.safetensors")
    said = wfconvert(model, "-o", tmp_path / "a.gguf", expect=1)
    assert "'model.embed_tokens.weight' holds values above 65504" in said
    wfconvert(model, "-o", tmp_path / "a.gguf", "--embedding-type", "bf16", "--validate")


@pytest.mark.parametrize("outtype", ["tq1_0", "f16", "f32"])
def test_a_matrix_of_zeros_passes_there_and_back(model, tmp_path, outtype):
    change(model, "model.layers.1.mlp.up_proj.weight", lambda weight: weight.fill(0))
    file = tmp_path / "a.gguf"
    wfconvert(model, "-o", file, "--outtype", outtype, "--validate")
    wfconvert(file, "-o", tmp_path / "back")
    wfconvert(tmp_path / "back", "-o", tmp_path / "b.gguf", "--outtype", outtype, "--validate")
    if outtype != "tq1_0":  # among full-precision matrices it is one of them
        written = (file, "--outtype", outtype, "--weights", "full-precision")
        wfconvert(model, "-o", *written)
        wfconvert(file, "-o", tmp_path / "full")
        wfconvert(tmp_path / "full", "-o", *written, "--validate-only")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (dict(model_type=7), "type must be string, but is number"),
        (dict(quantization_config=3), "wrong type"),
        (dict(wrinklefree=[]), "wrong type"),
        (dict(hidden_size="256"), "hidden_size has the value"),
        (dict(hidden_size=256.5), "hidden_size has the value 256.5"),
        (dict(hidden_size=0), "hidden_size is 0"),
        (dict(rms_norm_eps=0), "rms_norm_eps is 0"),
        (dict(rope_theta=-1), "rope_theta is -1"),
        (dict(num_hidden_layers=1_000_000), "num_hidden_layers is 1000000"),
        (dict(num_hidden_layers=1), "no place for"),
    ],
    ids=str,
)
def test_a_config_that_cannot_be_is_refused(model, tmp_path, changes, says):
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(config | changes))
    said = wfconvert(model, "-o", tmp_path / "a.gguf", expect=1)
    assert says in said and "internal" not in said and str(model) in said
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model"]


def test_floats_among_packed_codes_are_refused(model, tmp_path):
    file, back = tmp_path / "a.gguf", tmp_path / "back"
    wfconvert(model, "-o", file)
    wfconvert(file, "-o", back)
    name = "model.layers.1.mlp.up_proj.weight"
    weights = load_file(back / "model.safetensors")
    weights[name] = load_file(model / "model.safetensors")[name]
    del weights[name + "_scale"]
    save_file(weights, back / "model.safetensors", {"format": "pt"})
    said = wfconvert(back, "-o", tmp_path / "b.gguf", expect=1)
    assert "13 block matrices are packed codes and 1 are floats" in said


def rewrite(file, keys=None, tensors=None):
    """The same file with other values of some keys, and with more tensors."""
    reader, keys = gguf.GGUFReader(file), keys or {}
    out = file.with_name("rewritten.gguf")
    writer = gguf.GGUFWriter(out, reader.fields["general.architecture"].contents())
    for key, field in reader.fields.items():
        if not key.startswith("GGUF.") and key != "general.architecture":
            inner = field.types[1] if len(field.types) > 1 else None
            writer.add_key_value(key, keys.get(key, field.contents()), field.types[0], inner)
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
    for name, data in (tensors or {}).items():
        writer.add_tensor(name, data)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return out


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"llama.block_count": 1_000_000}, "says that it has 1000000 layers"),
        ({"llama.block_count": 0}, "has no layers"),
        ({"llama.block_count": 1}, "'blk.1.attn_norm.weight', which has no place"),
        ({"llama.attention.head_count_kv": 0}, "num_key_value_heads is 0"),
        ({"llama.context_length": 0}, "max_position_embeddings is 0"),
        ({"llama.attention.layer_norm_rms_epsilon": np.nan}, "rms_norm_eps is nan"),
        ({"llama.rope.freq_base": np.inf}, "rope_theta is inf"),
        ({"llama.embedding_length": 4_000_000_000}, "has 320 rows of 256, its metadata asks for"),
    ],
    ids=str,
)
def test_the_reverse_refuses_metadata_that_cannot_be(model, tmp_path, keys, says):
    wfconvert(model, "-o", tmp_path / "a.gguf")
    said = wfconvert(rewrite(tmp_path / "a.gguf", keys), "-o", tmp_path / "back", expect=1)
    assert says in said and "rewritten.gguf: " in said
    assert not list(tmp_path.glob("back*"))


def test_the_reverse_loses_no_tensor(model, tmp_path):
    wfconvert(model, "-o", tmp_path / "a.gguf")
    more = rewrite(tmp_path / "a.gguf", tensors={"blk.1.attn_q.bias": np.ones(256, np.float32)})
    said = wfconvert(more, "-o", tmp_path / "back", expect=1)
    assert "'blk.1.attn_q.bias', which has no place" in said
    assert not list(tmp_path.glob("back*"))
    table = wfconvert(model, "-o", more, "--validate-only", expect=1)
    assert re.search("^tensors +FAILED .*'blk.1.attn_q.bias' has no place in llama", table, re.M)


@pytest.mark.parametrize("scale", [np.nan, 0, -1])
def test_the_reverse_refuses_a_scale_that_cannot_be(model, tmp_path, scale):
    file = tmp_path / "a.gguf"
    wfconvert(model, "-o", file)
    tensors = {tensor.name: tensor.data for tensor in gguf.GGUFReader(file, "r+").tensors}
    tensors["blk.1.attn_k.scale"][:] = scale
    said = wfconvert(file, "-o", tmp_path / "back", expect=1)
    assert re.search(rf"\('blk.1.attn_k.weight': its scale is -?{scale}\)", said), said
    assert not list(tmp_path.glob("back*"))


def add_tokenizer(source, model):
    for companion in source[0].glob("tokenizer*"):
        shutil.copy(companion, model)


def test_other_token_ids_fail_the_validation(model, source, tmp_path):
    add_tokenizer(source, model)
    wfconvert(model, "-o", tmp_path / "a.gguf")
    key = "tokenizer.ggml.tokens"
    tokens = gguf.GGUFReader(tmp_path / "a.gguf").fields[key].contents()
    swapped = [{"a": "o", "o": "a"}.get(token, token) for token in tokens]
    altered = rewrite(tmp_path / "a.gguf", {key: swapped})
    table = wfconvert(model, "-o", altered, "--validate-only", expect=1)
    assert re.search("^logits +FAILED .* by llama.cpp and .*tokenizer.json$", table, re.M), table


def test_the_reverse_keeps_the_tokenizer_and_its_ends(model, source, tmp_path):
    file, back = tmp_path / "a.gguf", tmp_path / "back"
    add_tokenizer(source, model)
    wfconvert(model, "-o", file)
    wfconvert(file, "-o", back, "--companions", model)
    config = json.loads((back / "config.json").read_text())
    assert config["eos_token_id"] == config["bos_token_id"] == 0
    (back / "tokenizer_config.json").unlink()  # then config.json alone names the end
    table = wfconvert(back, "-o", file, "--validate-only")
    assert re.search("^tokens +ok ", table, re.M)


def test_a_file_that_is_not_one_is_refused(tmp_path):
    (tmp_path / "bad.gguf").write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 2**60, 2**60))
    assert "copied in full" in wfconvert(tmp_path / "bad.gguf", "--inspect", expect=1)
    assert "no such folder" in wfconvert(tmp_path / "none", "-o", tmp_path / "a.gguf", expect=1)


def test_the_reverse_says_what_is_missing(model, tmp_path):
    file = tmp_path / "a.gguf"
    wfconvert(model, "-o", file)
    back = ("-o", tmp_path / "back")
    assert "no such folder" in wfconvert(file, *back, "--companions", "/nowhere", expect=1)
    assert "name that folder" in wfconvert(file, *back, "--validate", expect=1)
    assert "--outtype concerns" in wfconvert(file, *back, "--outtype", "f16", expect=1)
    weights = model / "model.safetensors"
    assert "name its folder" in wfconvert(weights, *back, expect=1)
    assert not (tmp_path / "back").exists()
    assert "has no tokenizer" in wfconvert(file, *back)
    file.unlink()
    assert "no such file" in wfconvert(file, "-o", tmp_path / "again", expect=1)


def test_memory_stays_small_both_ways(tmp_path):
    """63 MB of weights, 126 MB as fp32, in 48 MB that no file backs."""
    shape = dict(num_hidden_layers=8, hidden_size=512, intermediate_size=2048, head_dim=128)
    model, file = make_folder(tmp_path / "model", **shape), tmp_path / "a.gguf"

    def limited(*arguments):
        command = [find_programs() / "wfconvert", *map(str, arguments)]
        limit = lambda: resource.setrlimit(resource.RLIMIT_DATA, (48 << 20, 48 << 20))  # noqa: E731
        result = subprocess.run(command, preexec_fn=limit, capture_output=True, text=True)
        assert result.returncode == 0, result.stderr

    limited(model, "-o", file, "--outtype", "tq2_0")
    limited(file, "-o", tmp_path / "packed")
    limited(model, "-o", file, "--outtype", "f32", "--weights", "full-precision")
    assert file.stat().st_size > 120e6
    limited(file, "-o", tmp_path / "full")


@pytest.mark.parametrize(
    "tokens",
    [np.int64([1, 320]), np.int64([-1]), np.int64([]), np.float32([1]), np.int64([[1, 2]])],
    ids=str,
)
def test_wfforward_refuses_what_are_no_tokens(model, tmp_path, tokens):
    save_file({"tokens": tokens}, tmp_path / "tokens.safetensors")
    command = [find_programs() / "wfforward", model, "tokens.safetensors", "out.safetensors"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 1
    assert "tokens.safetensors: " in result.stderr and "internal" not in result.stderr


def test_interrupted_while_it_validates_it_says_so(model, tmp_path):
    command = [find_programs() / "wfconvert", model, "-o", tmp_path / "a.gguf", "--validate"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    table = ""
    while "raw weights" not in table:  # llama.cpp comes next
        table += process.stdout.readline()
    process.send_signal(signal.SIGTERM)
    said = process.communicate(timeout=60)[0]
    assert process.returncode == 128 + signal.SIGTERM
    assert "interrupted; the file is written, but not validated" in said
    assert "FAILED" not in said
    assert (tmp_path / "a.gguf").exists()


@pytest.fixture(scope="module")
def large_model(tmp_path_factory):
    """Takes long enough to be stopped in the middle."""
    folder = tmp_path_factory.mktemp("large") / "model"
    shape = dict(num_hidden_layers=24, hidden_size=1024, intermediate_size=4096, head_dim=256)
    yield make_folder(folder, **shape)
    shutil.rmtree(folder)


def test_a_terminal_shows_how_far_it_is(large_model, tmp_path):
    command = [find_programs() / "wfconvert", large_model, "-o", tmp_path / "a.gguf"]
    shown = shown_on_terminal(command)
    for doing in ("measuring", "writing"):
        bars = re.findall(rf"{doing} +\[(#*)(\.*)\] +(\d+) %", shown)
        shares = [int(share) for _, _, share in bars]
        assert shares == sorted(shares) and len(set(shares)) > 20, shares
        assert all(len(done + left) == 40 for done, left, _ in bars)
    assert shares[-1] == 100


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_stopped_in_the_middle_it_leaves_what_was_there(model, large_model, tmp_path, sent):
    file = tmp_path / "a.gguf"
    wfconvert(model, "-o", file)
    before = file.read_bytes()
    command = [find_programs() / "wfconvert", large_model, "-o", file, "--outtype", "f32"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    while not (tmp_path / "a.gguf.partial").exists() and process.poll() is None:
        time.sleep(0.001)
    process.send_signal(sent)
    _, said = process.communicate(timeout=60)
    assert file.read_bytes() == before
    if sent == signal.SIGKILL:
        assert process.returncode == -sent
        wfconvert(model, "-o", file, "--outtype", "tq2_0", "--validate")  # over what it left
    else:
        assert process.returncode == 128 + sent, said
        assert "interrupted; nothing was written" in said
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.gguf", "model"]


def test_nohup_keeps_it_running(large_model, tmp_path):
    command = ["nohup", find_programs() / "wfconvert", large_model, "-o", tmp_path / "a.gguf"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    while not (tmp_path / "a.gguf.partial").exists() and process.poll() is None:
        time.sleep(0.001)
    process.send_signal(signal.SIGHUP)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 0, said


def test_two_at_a_time_do_not_write_into_one_file(model, tmp_path):
    partial = tmp_path / "a.gguf.partial"
    with partial.open("w") as file:
        file.write("of another process")
        file.flush()
        fcntl.flock(file, fcntl.LOCK_EX)
        said = wfconvert(model, "-o", tmp_path / "a.gguf", expect=1)
    assert "another process is writing it" in said
    assert partial.read_text() == "of another process"
    wfconvert(model, "-o", tmp_path / "a.gguf", "--validate")


def test_a_disk_that_is_full_is_said_and_left_as_it_was(model, tmp_path):
    """Both ways, on a file system of 200 kB."""
    wfconvert(model, "-o", tmp_path / "a.gguf")
    small = tmp_path / "small"
    small.mkdir()
    alone = ["unshare", "--user", "--map-root-user", "--mount"]
    if subprocess.run([*alone, "true"], capture_output=True).returncode:
        pytest.skip("file systems cannot be mounted here")
    script = f'mount -t tmpfs -o size=200k none {small} && cd {small} && ("$@"; ls -A)'
    for source, output in ((model, "b.gguf"), (tmp_path / "a.gguf", "folder")):
        command = [find_programs() / "wfconvert", source, "-o", output]
        result = subprocess.run(
            [*alone, "sh", "-c", script, "sh", *command], capture_output=True, text=True
        )
        assert "No space left on device" in result.stderr
        assert result.stdout == ""
