import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from texts import EOS, make_texts
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers


@pytest.fixture(scope="session")
def tokenizer_folder(tmp_path_factory) -> Path:
    """A byte-level BPE trained on the test's own texts."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=[EOS, "<pad>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(make_texts(50), trainer)
    folder = tmp_path_factory.mktemp("tokenizer")
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": EOS}))
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    return folder


@pytest.fixture
def wf():
    """Runs the command in a process of its own, as a person would."""

    def run(*arguments, expect: int = 0) -> subprocess.CompletedProcess:
        command = [sys.executable, "-m", "wf", *map(str, arguments)]
        result = subprocess.run(command, capture_output=True, text=True, timeout=120)
        assert result.returncode == expect, result.stderr + result.stdout
        assert "Traceback" not in result.stderr, result.stderr
        return result

    return run


@pytest.fixture(scope="session")
def test_data() -> Path:
    if "WF_TEST_DATA" not in os.environ:
        pytest.skip("WF_TEST_DATA is not set (folder with prose.train.jsonl and tokenizers/gpt2)")
    return Path(os.environ["WF_TEST_DATA"])
