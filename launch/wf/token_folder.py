"""A folder of prepared tokens: what `wf data prepare` writes and the trainer maps.

manifest.json     counts, vocabulary, EOS, tokenizer and shard checksums; written last
NNNNN.tokens      little-endian uint16 or uint32; documents one after the other, each ends in EOS
NNNNN.documents   little-endian uint64 [documents + 1]: where each document starts, in tokens
tokenizer.json    and what lay beside it
"""

import json
from pathlib import Path

import numpy as np

from wf.error import Error
from wf.tokenizer import sha256_of

FORMAT = "wf-tokens"
VERSION = 1
DTYPES = ("uint16", "uint32")
COUNTS = {"tokens": int, "documents": int}
KEYS = COUNTS | {"dtype": str, "vocab_size": int, "eos_token_id": int, "tokenizer_sha256": str}
KEYS |= {"columns": list, "sources": list, "shards": list}
SOURCE_KEYS = {"name": str, "documents": int, "characters": int}
SHARD_KEYS = COUNTS | {"tokens_file": str, "documents_file": str}
SHARD_KEYS |= {"tokens_sha256": str, "documents_sha256": str}


class TokenFolder:
    """An opened folder; its manifest is complete, and the sizes of all its files fit it."""

    def __init__(self, folder: Path):
        self.folder = folder
        path = folder / "manifest.json"
        if not path.is_file():
            raise Error(f"{folder}: no manifest.json, so not a folder that `wf data prepare` made")
        try:
            self.manifest = json.loads(path.read_text())
        except ValueError as error:
            raise Error(f"{path}: damaged: {error}; prepare the data again") from error
        check_keys(path, self.manifest, {"format": str, "version": int})
        form = (self.manifest["format"], self.manifest["version"])
        if form != (FORMAT, VERSION):
            raise Error(f"{path}: format and version are {form}, expected {(FORMAT, VERSION)}")
        check_keys(path, self.manifest, KEYS)
        if (dtype := self.manifest["dtype"]) not in DTYPES:
            raise Error(f"{path}: dtype '{dtype}', expected {' or '.join(DTYPES)}")
        self.dtype = np.dtype(dtype).newbyteorder("<")
        for source in self.manifest["sources"]:
            check_keys(path, source, SOURCE_KEYS)
        self.shards = self.manifest["shards"]
        for shard in self.shards:
            check_keys(path, shard, SHARD_KEYS)
            self.check_size(shard["tokens_file"], shard["tokens"] * self.dtype.itemsize)
            self.check_size(shard["documents_file"], (shard["documents"] + 1) * 8)
        for key in COUNTS:
            if (total := sum(shard[key] for shard in self.shards)) != self.manifest[key]:
                raise Error(f"{path}: {key}: the shards add up to {total}")

    def check_size(self, name: str, expected: int) -> None:
        path = self.folder / name
        if not path.is_file():
            raise Error(f"{path}: is missing; copy the folder again or prepare the data again")
        if (size := path.stat().st_size) != expected:
            raise Error(f"{path}: has {size} bytes, the manifest says {expected}; it is damaged")

    def tokens(self, shard: dict) -> np.ndarray:  # [tokens]
        return np.memmap(self.folder / shard["tokens_file"], self.dtype, mode="r")

    def offsets(self, shard: dict) -> np.ndarray:  # [documents + 1]
        return np.fromfile(self.folder / shard["documents_file"], dtype="<u8")

    def document(self, number: int) -> np.ndarray:
        """Tokens of one document, EOS included, counted over all shards."""
        for shard in self.shards:
            if number < shard["documents"]:
                first, last = self.offsets(shard)[number : number + 2]
                return self.tokens(shard)[int(first) : int(last)]
            number -= shard["documents"]
        raise IndexError(number)

    def verify(self) -> None:
        """Reads every byte; raises on the first thing that is not as the manifest says."""
        for shard in self.shards:
            self.check_hash(shard["tokens_file"], shard["tokens_sha256"])
            self.check_hash(shard["documents_file"], shard["documents_sha256"])
            self.check_shard(shard)
        self.check_hash("tokenizer.json", self.manifest["tokenizer_sha256"])

    def check_hash(self, name: str, expected: str) -> None:
        if sha256_of(self.folder / name) != expected:
            raise Error(f"{self.folder / name}: checksum differs from the manifest; it is damaged")

    def check_shard(self, shard: dict) -> None:
        tokens, offsets = self.tokens(shard), self.offsets(shard)
        path = self.folder / shard["documents_file"]
        if (
            offsets[0] != 0
            or offsets[-1] != len(tokens)
            or (np.diff(offsets.astype("i8")) < 1).any()
        ):
            raise Error(f"{path}: offsets do not rise from 0 to {len(tokens)}")
        path = self.folder / shard["tokens_file"]
        if (largest := int(tokens.max())) >= self.manifest["vocab_size"]:
            raise Error(f"{path}: id {largest}, vocab_size is {self.manifest['vocab_size']}")
        wrong = np.flatnonzero(tokens[offsets[1:] - np.uint64(1)] != self.manifest["eos_token_id"])
        if len(wrong):
            raise Error(f"{path}: document {wrong[0]} does not end in EOS")


def check_keys(path: Path, section: object, keys: dict[str, type]) -> None:
    held = section if isinstance(section, dict) else {}
    if wrong := sorted(key for key, kind in keys.items() if not isinstance(held.get(key), kind)):
        names = ", ".join(wrong)
        raise Error(f"{path}: {names} missing or of the wrong type; prepare the data again")
