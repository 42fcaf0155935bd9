"""The engine behind `wf`: llama.cpp against a forward pass in numpy, on a random bitnet model."""

import numpy as np
import pytest
import sentencepiece
from gguf_model import reference_logits, write_bitnet
from safetensors.numpy import load_file
from tokenizers import Tokenizer, models, pre_tokenizers
from wf.conformance import TEXTS
from wf.error import Error
from wf.llama import Llama, dequantize

TOKENS = [3, 17, 5, 60, 2, 9, 9, 31]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("llama") / "model.gguf"
    return path, write_bitnet(path)


def test_logits_of_an_f32_file_are_those_of_fp32_arithmetic(model):
    path, weights = model
    with Llama(path) as llama:
        logits = llama.logits(TOKENS)
    expected = reference_logits(weights, TOKENS)
    assert logits.shape == expected.shape
    assert expected.std() > 0.5
    error = np.linalg.norm(logits - expected) / np.linalg.norm(expected)
    assert error < 1e-5


def test_greedy_takes_the_highest_logit_at_every_step(model):
    path, weights = model
    with Llama(path) as llama:
        continuation = llama.greedy(TOKENS, 12)
    tokens = list(TOKENS)
    for _ in range(12):
        tokens.append(int(reference_logits(weights, tokens)[-1].argmax()))
    assert continuation == tokens[len(TOKENS) :]


def test_a_long_text_is_evaluated_in_parts(model):
    path, weights = model
    tokens = np.random.default_rng(0).integers(0, 64, 700).tolist()
    with Llama(path) as llama:
        logits = llama.logits(tokens)
    assert logits.shape[0] == 700
    expected = reference_logits(weights, tokens)
    assert np.linalg.norm(logits - expected) / np.linalg.norm(expected) < 1e-4


def test_dequantize_is_ggmls(model):
    codes = bytes.fromhex("003859208482a904125821a9428926898102")  # scale 0.5, 64 codes
    values = dequantize("q2_0", codes)
    assert values[:8].tolist() == [0, 0.5, 0, 0, -0.5, -0.5, 0.5, -0.5]


def test_refusals_carry_the_engines_reason(model, tmp_path):
    path, _ = model
    with pytest.raises(Error, match="no such file"):
        Llama(tmp_path / "none.gguf")
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(path.read_bytes()[:-400])
    with pytest.raises(Error, match=r"broken.gguf: llama.cpp refuses the file: .*within the file"):
        Llama(broken)
    with Llama(path) as llama, pytest.raises(Error, match="token 258 is outside"):
        llama.logits([258])


def test_the_command_writes_what_it_prints(model, tmp_path, wf):
    path, weights = model
    out = tmp_path / "out.safetensors"
    ids = ",".join(map(str, TOKENS))
    said = wf("logits", path, "--tokens", ids, "--limit", 6, "--greedy", 3, "-o", out).stdout
    written = load_file(out)
    assert written["tokens"].tolist() == TOKENS[:6]
    expected = reference_logits(weights, TOKENS[:6])
    assert np.allclose(written["logits"], expected, atol=1e-3)
    assert f"greedy {' '.join(map(str, written['greedy']))}" in said
    assert written["greedy"][0] == expected[-1].argmax()


def test_the_command_compares_tokenizers(model, tmp_path, wf):
    path, _ = model
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: i for i, token in enumerate(["<|end|>", *alphabet, "th"])}
    tokenizer = Tokenizer(models.BPE(vocabulary, [("t", "h")]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    wf("logits", path, "--text", "the", "--tokenizer", tmp_path)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    error = wf("logits", path, "--text", "the", "--tokenizer", tmp_path, expect=1).stderr
    assert "'The quick brown fox jumps over the lazy dog.' is [" in error
    (tmp_path / "tokenizer.json").unlink()
    error = wf("logits", path, "--text", "the", "--tokenizer", tmp_path, expect=1).stderr
    assert "neither tokenizer.json nor tokenizer.model" in error
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXTS[:1] * 9),
        model_prefix=str(tmp_path / "tokenizer"),
        vocab_size=40,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    error = wf("logits", path, "--text", "the", "--tokenizer", tmp_path, expect=1).stderr
    assert "tokenizer.model" in error


def test_wrong_input_of_the_command_is_one_sentence(model, tmp_path, wf):
    path, _ = model
    assert "expected numbers" in wf("logits", path, "--tokens", "a,b", expect=1).stderr
    assert "token 999 is outside" in wf("logits", path, "--tokens", "999", expect=1).stderr
    assert "no tokens to evaluate" in wf("logits", path, "--text", "", expect=1).stderr
    wf("logits", path, expect=2)
    for option in ("--limit", "--greedy"):
        said = wf("logits", path, "--tokens", "1", option, "-3", expect=2).stderr
        assert "'-3' is no positive number" in said
    nowhere = ("-o", tmp_path / "nowhere" / "x")
    said = wf("logits", path, "--tokens", "1", *nowhere, expect=1).stderr
    assert "nowhere/x: cannot be written: " in said
    write_bitnet(tmp_path / "ids.gguf", tokenizer=False)
    wf("logits", tmp_path / "ids.gguf", "--tokens", "1")
    said = wf("logits", tmp_path / "ids.gguf", "--text", "one", expect=1).stderr
    assert "the file has no tokenizer" in said
