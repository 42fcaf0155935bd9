"""Documents for the tests of data preparation."""

import json
from pathlib import Path

WORDS = "the cat sat on a mat while rain fell over grey hills and nobody spoke of it again"
EOS = "<|endoftext|>"


def make_texts(count: int, words: int = 40) -> list[str]:
    """Different, reproducible documents with some non-ASCII text."""
    choice = WORDS.split()
    return [
        f"Document {i}: "
        + " ".join(choice[(i * 7 + j * j) % len(choice)] for j in range(words + i % 5))
        + " naïve café λ.\n"
        for i in range(count)
    ]


def write_jsonl(path: Path, texts: list[str]) -> Path:
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return path
