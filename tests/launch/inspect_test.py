"""wf data inspect: shows what is there and names what is damaged."""

import json

import pytest
from texts import make_texts, write_jsonl


@pytest.fixture
def prepared(wf, tmp_path, tokenizer_folder):
    source = write_jsonl(tmp_path / "a.jsonl", make_texts(60))
    out = tmp_path / "out"
    options = ["--tokenizer", tokenizer_folder, "--shard-tokens", 1000]
    wf("data", "prepare", source, "-o", out, *options)
    return out


def change_manifest(folder, **changes):
    path = folder / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_shows_counts_and_samples(wf, prepared):
    shown = wf("data", "inspect", prepared, "--samples", 2, "--verify").stdout
    assert "60 documents" in shown and "vocabulary 300, EOS 0" in shown and "verified" in shown
    assert shown.count("--- document") == 2
    assert "Document 30: " in shown and "café λ.\n  <|endoftext|>" in shown


def test_of_many_sources_the_largest_are_shown(wf, tmp_path, tokenizer_folder):
    (tmp_path / "texts").mkdir()
    for i in range(13):
        (tmp_path / "texts" / f"{i}.txt").write_text("word " * (i + 1))
    options = ["--tokenizer", tokenizer_folder, "--workers", 1]
    wf("data", "prepare", tmp_path / "texts", "-o", tmp_path / "out", *options)
    shown = wf("data", "inspect", tmp_path / "out", "--samples", 0).stdout.splitlines()
    sources = [line.split(":")[0].strip() for line in shown if "characters" in line]
    assert sources == [*(f"{i}.txt" for i in range(12, 2, -1)), "3 smaller ones"]
    assert shown[-1] == "  3 smaller ones: 3 documents, 30 characters"


def test_both_sides_of_held_out(wf, tmp_path, tokenizer_folder):
    source = write_jsonl(tmp_path / "a.jsonl", make_texts(60))
    options = ["--tokenizer", tokenizer_folder, "--held-out", 0.3]
    wf("data", "prepare", source, "-o", tmp_path / "out", *options)
    shown = wf("data", "inspect", tmp_path / "out", "--verify").stdout
    assert "out/train\n" in shown and "out/held_out\n" in shown and shown.count("verified") == 2


@pytest.mark.parametrize("name", ["00001.tokens", "00000.documents", "tokenizer.json"])
def test_a_flipped_bit_is_named(wf, prepared, name):
    data = bytearray((prepared / name).read_bytes())
    data[len(data) // 2] ^= 4
    (prepared / name).write_bytes(data)
    message = wf("data", "inspect", prepared, "--verify", expect=1).stderr
    assert f"{name}: checksum differs from the manifest" in message


@pytest.mark.parametrize("name", ["00001.tokens", "00002.documents"])
def test_a_truncated_or_missing_file_is_named_without_verify(wf, prepared, name):
    data = (prepared / name).read_bytes()
    (prepared / name).write_bytes(data[:-3])
    message = wf("data", "inspect", prepared, expect=1).stderr
    assert f"{name}: has {len(data) - 3} bytes, the manifest says {len(data)}" in message
    (prepared / name).unlink()
    assert f"{name}: is missing" in wf("data", "inspect", prepared, expect=1).stderr


@pytest.mark.parametrize(
    "key, value, message",
    [
        ("vocab_size", 270, "vocab_size is 270"),
        ("eos_token_id", 1, "document 0 does not end in EOS"),
    ],
)
def test_tokens_that_do_not_fit_the_manifest_are_named(wf, prepared, key, value, message):
    change_manifest(prepared, **{key: value})
    assert message in wf("data", "inspect", prepared, "--verify", expect=1).stderr


@pytest.mark.parametrize(
    "key, value, message",
    [
        ("documents", 100, "the shards add up to 60"),
        ("version", 2, "expected ('wf-tokens', 1)"),
        ("dtype", "float32", "dtype 'float32', expected uint16 or uint32"),
        ("tokens", "many", "tokens missing or of the wrong type"),
        ("shards", [5], "tokens_sha256 missing or of the wrong type"),
        ("sources", [{"name": "a"}], "characters, documents missing or of the wrong type"),
    ],
)
def test_a_manifest_that_contradicts_itself_is_named(wf, prepared, key, value, message):
    change_manifest(prepared, **{key: value})
    shown = wf("data", "inspect", prepared, expect=1).stderr
    assert "manifest.json: " in shown and message in shown


@pytest.mark.parametrize("text", ["[]", "5", "null", "{", ""])
def test_a_manifest_that_is_no_manifest_is_named(wf, prepared, text):
    (prepared / "manifest.json").write_text(text)
    assert "manifest.json: " in wf("data", "inspect", prepared, expect=1).stderr


def test_a_manifest_without_a_key_is_named(wf, prepared):
    path = prepared / "manifest.json"
    manifest = json.loads(path.read_text())
    del manifest["shards"][1]["tokens"], manifest["dtype"]
    path.write_text(json.dumps(manifest))
    assert "manifest.json: dtype missing" in wf("data", "inspect", prepared, expect=1).stderr
    path.write_text(json.dumps({**manifest, "dtype": "uint16"}))
    assert "manifest.json: tokens missing" in wf("data", "inspect", prepared, expect=1).stderr


@pytest.mark.parametrize("text", [None, "{}"])
def test_a_tokenizer_that_cannot_decode_is_named_without_verify(wf, prepared, text):
    (prepared / "tokenizer.json").unlink()
    if text is not None:
        (prepared / "tokenizer.json").write_text(text)
    assert "tokenizer.json: " in wf("data", "inspect", prepared, expect=1).stderr


def test_not_a_prepared_folder(wf, tmp_path):
    assert "no manifest.json" in wf("data", "inspect", tmp_path, expect=1).stderr
    assert "no such folder" in wf("data", "inspect", tmp_path / "x", expect=1).stderr
