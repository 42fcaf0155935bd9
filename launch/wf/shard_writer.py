"""Writes one folder of token shards (format "wf-tokens", described in token_folder.py)."""

import hashlib
from pathlib import Path

import numpy as np

from wf.durable import sync, sync_folder, write_json
from wf.journal import Journal
from wf.token_folder import FORMAT, VERSION


class ShardWriter:
    """Appends documents to shards; a finished shard is durable and in the journal."""

    def __init__(self, folder: Path, side: str, dtype: str, shard_tokens: int, journal: Journal):
        folder.mkdir(exist_ok=True)
        self.folder = folder
        self.side = side
        self.dtype = np.dtype(dtype).newbyteorder("<")
        self.shard_tokens = shard_tokens
        self.journal = journal
        self.shards = journal.finished(side)
        self.file = None

    def documents(self) -> int:
        """Documents in finished shards."""
        return sum(shard["documents"] for shard in self.shards)

    def append(self, tokens: np.ndarray, lengths: np.ndarray) -> None:
        """`tokens` are documents of `lengths` tokens each; a shard ends with the document that
        fills it, none is ever split."""
        while len(lengths):
            if self.file is None:
                self.open_shard()
            ends = np.cumsum(lengths)
            documents = int(np.searchsorted(ends, self.shard_tokens - self.tokens)) + 1
            documents = min(documents, len(lengths))
            self.write(tokens[: ends[documents - 1]], lengths[:documents])
            tokens, lengths = tokens[ends[documents - 1] :], lengths[documents:]
            if self.tokens >= self.shard_tokens:
                self.finish_shard()

    def open_shard(self) -> None:
        self.name = f"{len(self.shards):05d}"
        self.file = (self.folder / f"{self.name}.tokens").open("wb")
        self.hash = hashlib.sha256()
        self.tokens = 0
        self.lengths = []

    def write(self, tokens: np.ndarray, lengths: np.ndarray) -> None:
        data = tokens.astype(self.dtype, copy=False).tobytes()
        self.file.write(data)
        self.hash.update(data)
        self.tokens += len(tokens)
        self.lengths.append(lengths)

    def finish_shard(self) -> None:
        sync(self.file)
        self.file.close()
        self.file = None
        offsets = np.concatenate([[0], np.cumsum(np.concatenate(self.lengths))]).astype("<u8")
        with (self.folder / f"{self.name}.documents").open("wb") as file:
            file.write(offsets.tobytes())
            sync(file)
        sync_folder(self.folder)
        shard = {
            "tokens_file": f"{self.name}.tokens",
            "documents_file": f"{self.name}.documents",
            "tokens": self.tokens,
            "documents": len(offsets) - 1,
            "tokens_sha256": self.hash.hexdigest(),
            "documents_sha256": hashlib.sha256(offsets.tobytes()).hexdigest(),
        }
        self.journal.add(self.side, shard)
        self.shards.append(shard)

    def finish(self, description: dict) -> None:
        """Ends the last shard and writes the manifest, which makes the folder complete."""
        if self.file:
            self.finish_shard()
        manifest = {
            "format": FORMAT,
            "version": VERSION,
            "dtype": self.dtype.name,
            "tokens": sum(shard["tokens"] for shard in self.shards),
            "documents": self.documents(),
            **description,
            "shards": self.shards,
        }
        write_json(self.folder / "manifest.json", manifest)
