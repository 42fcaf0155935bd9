"""The engine behind `wf`: llama.cpp against a forward pass in numpy, on a random bitnet model."""

import numpy as np
import pytest
from gguf_model import reference_logits, write_bitnet
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
