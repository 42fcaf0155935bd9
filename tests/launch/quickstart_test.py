"""./quickstart's own parts: its text, its tokenizer, what it skips, when it says that it failed."""

import json
import math

import numpy as np
import pytest
from quickstart.corpus import read_library
from quickstart.model_folder import make_model
from quickstart.step import Step, Steps
from quickstart.verdict import Verdict, judge
from texts import make_texts, write_jsonl

MODULE = '''"""About the module."""
import os

@decorated
def first(x):
    """Says what it does, at a length that is worth reading for anybody who would like to learn."""
    return x

class Second:
    """Another text that is long enough to be a document of its own in a corpus of small things."""

def short(): pass
'''


def test_the_corpus_has_every_definition_once(tmp_path):
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "module.py").write_text(MODULE)
    (tmp_path / "broken.py").write_text("def (")
    (tmp_path / "test").mkdir()
    (tmp_path / "test" / "module.py").write_text(MODULE)
    first, second = read_library(tmp_path)
    assert first.startswith("# package/module.py\n@decorated\ndef first(x):\n")
    assert first.endswith("    return x\n")
    assert second.startswith("# package/module.py\nclass Second:\n") and "def" not in second


def test_transformers_loads_the_tokenizer(tmp_path):
    from transformers import AutoTokenizer

    corpus = write_jsonl(tmp_path / "corpus.jsonl", make_texts(50))
    config = json.dumps({"model_type": "llama", "vocab_size": 300})
    make_model(corpus, config, tmp_path / "model")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "model")
    assert len(tokenizer) == 300 and tokenizer.eos_token_id == 0
    text = "The  cat\n\tsat — naïve λ."
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


@pytest.fixture
def steps(tmp_path):
    """Runs steps of given recipes, "fails" among them; returns the names of those that ran."""

    def run(**recipes: str) -> list[str]:
        ran = []

        def work(name, recipe):
            ran.append(name)
            (tmp_path / name).mkdir(exist_ok=True)
            if recipe == "fails":
                raise RuntimeError
            (tmp_path / name / "done").touch()

        steps = Steps(tmp_path)
        for name, recipe in recipes.items():
            action = lambda name=name, recipe=recipe: work(name, recipe)  # noqa: E731
            try:
                steps.run(Step(name, name, recipe, action))
            except RuntimeError:
                break
        return ran

    return run


def test_finished_steps_are_skipped(steps):
    assert steps(a="1", b="1", c="1") == ["a", "b", "c"]
    assert steps(a="1", b="1", c="1") == []


def test_a_changed_step_and_all_after_it_run_again(steps, tmp_path):
    steps(a="1", b="1", c="1")
    (tmp_path / "c" / "old").touch()
    assert steps(a="1", b="2", c="1") == ["b", "c"]
    assert not (tmp_path / "c" / "old").exists()


def test_an_interrupted_step_goes_on_with_what_it_has(steps, tmp_path):
    assert steps(a="1", b="fails", c="1") == ["a", "b"]
    (tmp_path / "b" / "kept").touch()
    assert steps(a="1", b="1", c="1") == ["b", "c"]
    assert (tmp_path / "b" / "kept").exists()


def test_the_verdict():
    assert Verdict(unigram=6.3, full=4.2, ternary=4.4).problem() is None
    assert "worse than its base" in Verdict(unigram=6.3, full=4.2, ternary=4.6).problem()
    assert "token frequencies" in Verdict(unigram=6.3, full=5.9, ternary=6.0).problem()
    assert Verdict(unigram=6.3, full=4.2, ternary=math.nan).problem()
    assert Verdict(unigram=6.3, full=math.nan, ternary=4.2).problem()


def test_losses_come_from_the_runs_and_the_held_out_text(wf, tmp_path, tokenizer_folder):
    source = write_jsonl(tmp_path / "a.jsonl", make_texts(40))
    out = tmp_path / "data"
    wf("data", "prepare", source, "--tokenizer", tokenizer_folder, "-o", out, "--shard-tokens", 500)
    for name, key, losses in (("base", "full", [5.0, 4.0]), ("ternary", "ternary", [6.0, 4.1])):
        (tmp_path / name).mkdir()
        lines = [
            json.dumps({"kind": "eval", "step": step, f"loss_{key}": loss}) + "\n"
            for step, loss in enumerate(losses)
        ]
        (tmp_path / name / "metrics.jsonl").write_text("".join(lines))
    verdict = judge(out, tmp_path / "base", tmp_path / "ternary")
    tokens = np.concatenate([np.fromfile(path, "<u2") for path in out.glob("*.tokens")])
    _, counts = np.unique(tokens, return_counts=True)
    expected = -sum(n / len(tokens) * math.log(n / len(tokens)) for n in counts)
    assert verdict.unigram == pytest.approx(expected)
    assert (verdict.full, verdict.ternary) == (4.0, 4.1)
