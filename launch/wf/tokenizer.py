"""A Hugging Face tokenizer as data preparation needs it: raw text to ids, and its EOS."""

import hashlib
import json
import shutil
from pathlib import Path

from tokenizers import Tokenizer

from wf.error import Error

# Whatever of these lies beside tokenizer.json travels with the data, and later with the model.
COMPANIONS = (
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "generation_config.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "tokenizer.model",
)


def find_tokenizer(name: str) -> Path:
    """The tokenizer.json meant by a file or a folder."""
    path = Path(name)
    if path.is_dir():
        path = path / "tokenizer.json"
    if not path.is_file():
        raise Error(f"{path}: no such file; --tokenizer takes a tokenizer.json or its folder")
    return path


def load_tokenizer(path: Path) -> Tokenizer:
    """A tokenizer for raw text: nothing cut, padded or added, and no text becomes a control token.

    Hugging Face's default turns a literal "<|endoftext|>" inside a document into the control
    token. Here such text is encoded like any other, so only real ends of documents are EOS.
    """
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # tokenizers raises bare Exception
        raise Error(f"{path}: not a Hugging Face tokenizer.json: {error}") from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    tokenizer.encode_special_tokens = True
    return tokenizer


def vocab_size(tokenizer: Tokenizer) -> int:
    """Largest id + 1, added tokens included (ids may have gaps)."""
    return max(tokenizer.get_vocab(with_added_tokens=True).values()) + 1


def find_eos(path: Path, tokenizer: Tokenizer, wanted: str | None) -> int:
    """The id of `wanted`, or of the eos_token that the files beside tokenizer.json name."""
    token = wanted or eos_in(path.parent / "tokenizer_config.json")
    token = token or eos_in(path.parent / "special_tokens_map.json")
    if token is None:
        raise Error(f"{path}: no file beside it names an eos_token; {candidates(tokenizer)}")
    if (token_id := tokenizer.token_to_id(token)) is None:
        raise Error(f"{path}: has no token '{token}' to end documents; {candidates(tokenizer)}")
    return token_id


def eos_in(path: Path) -> str | None:
    if not path.is_file():
        return None
    try:
        token = json.loads(path.read_text()).get("eos_token")
    except ValueError as error:
        raise Error(f"{path}: not valid JSON: {error}") from error
    return token["content"] if isinstance(token, dict) else token


def candidates(tokenizer: Tokenizer) -> str:
    special = [t.content for t in tokenizer.get_added_tokens_decoder().values() if t.special]
    return f"choose with --eos among {', '.join(special) or 'its vocabulary'}"


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def copy_tokenizer(path: Path, folder: Path) -> None:
    shutil.copyfile(path, folder / "tokenizer.json")
    for name in COMPANIONS:
        if (path.parent / name).is_file():
            shutil.copyfile(path.parent / name, folder / name)
