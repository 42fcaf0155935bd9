"""The model to be: a config.json, and a byte-level BPE tokenizer trained on the corpus."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

EOS = "<|endoftext|>"


def make_model(corpus: Path, config: str, folder: Path) -> str:
    """Writes a Hugging Face folder without weights, all or nothing; returns a summary.

    `config` is the text of its config.json.
    """
    vocab_size = json.loads(config)["vocab_size"]
    aside = folder.with_suffix(".partial")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir()
    train_tokenizer(corpus, vocab_size).save(str(aside / "tokenizer.json"))
    described = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": EOS,
        "clean_up_tokenization_spaces": False,
    }
    (aside / "tokenizer_config.json").write_text(json.dumps(described, indent=1))
    (aside / "config.json").write_text(config)
    aside.rename(folder)
    return f"a vocabulary of {vocab_size:,} tokens"


def train_tokenizer(corpus: Path, vocab_size: int) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[EOS],  # id 0, as config.json says
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(read_texts(corpus), trainer)
    return tokenizer


def read_texts(corpus: Path) -> Iterator[str]:
    with corpus.open() as file:
        for line in file:
            yield json.loads(line)["text"]
