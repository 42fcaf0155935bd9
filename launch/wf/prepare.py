"""Data preparation: text files in, a complete folder of token shards out, or none."""

import fcntl
import hashlib
import os
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from wf.durable import sync_folder
from wf.encoder import Batch, EncodedBatch, Encoder
from wf.error import Error
from wf.journal import Journal
from wf.shard_writer import ShardWriter
from wf.source import Columns, SourceError, find_files, read_documents
from wf.tokenizer import (
    copy_tokenizer,
    find_eos,
    find_tokenizer,
    load_tokenizer,
    sha256_of,
    vocab_size,
)

BATCH_CHARACTERS = 1 << 18  # tens of milliseconds of encoding: little to lose, little overhead
BATCH_DOCUMENTS = 1 << 12


class Preparation:
    def __init__(
        self,
        inputs: list[str],
        columns: Columns,
        tokenizer: str,
        eos: str | None,
        out: Path,
        held_out: float,
        workers: int,
        shard_tokens: int,
    ):
        if out.exists():
            raise Error(f"{out}: already exists; remove it or choose another -o")
        self.files = find_files(inputs)
        self.columns = columns
        self.tokenizer_path = find_tokenizer(tokenizer)
        tokenizer = load_tokenizer(self.tokenizer_path)
        self.vocab_size = vocab_size(tokenizer)
        self.eos = find_eos(self.tokenizer_path, tokenizer, eos)
        self.dtype = "uint16" if self.vocab_size <= 1 << 16 else "uint32"
        self.out = out
        self.partial = out.with_name(out.name + ".partial")
        self.held_out = held_out
        self.workers = workers
        self.shard_tokens = shard_tokens
        self.sides = ["train", "held_out"] if held_out else ["."]
        self.counts = {side: [Count() for _ in self.files] for side in self.sides}
        self.empty = 0

    def run(self) -> None:
        started = time.monotonic()
        self.partial.mkdir(parents=True, exist_ok=True)
        with locked(self.partial):
            try:
                writers = self.write()
            except SourceError:  # the inputs have to change, so nothing here can be continued
                shutil.rmtree(self.partial)
                raise
            except KeyboardInterrupt as interrupt:
                raise KeyboardInterrupt(
                    f"; the same command continues at the last finished shard ({self.partial})"
                ) from interrupt
            self.partial.rename(self.out)
            sync_folder(self.out.parent)
            (self.out / "journal.jsonl").unlink()
        self.report(writers, time.monotonic() - started)

    def write(self) -> list[ShardWriter]:
        journal = Journal(self.partial, self.request())
        writers = {
            side: ShardWriter(self.partial / side, side, self.dtype, self.shard_tokens, journal)
            for side in self.sides
        }
        done = {side: writer.documents() for side, writer in writers.items()}
        if any(done.values()):
            print(f"{self.partial}: continuing after {sum(done.values())} documents")
        with self.progress_bar() as bar:
            for batch in self.encoded(done):
                writers[batch.side].append(batch.tokens, batch.lengths)
                bar.advance(batch)
        for side, writer in writers.items():
            self.check_not_empty(side)
            copy_tokenizer(self.tokenizer_path, writer.folder)
            writer.finish(self.description(side))
        return list(writers.values())

    def encoded(self, done: dict[str, int]) -> Iterator[EncodedBatch]:
        with Encoder(self.tokenizer_path, self.eos, self.dtype, self.workers) as encoder:
            yield from encoder.encode(self.batches(done))

    def batches(self, done: dict[str, int]) -> Iterator[Batch]:
        """All documents but the first `done` of each side, a side's documents in reading order."""
        open_batches = {side: Batch(side, [], 0) for side in self.sides}
        sizes = dict.fromkeys(self.sides, 0)
        left = dict(done)
        for side, text, position in self.documents():
            if left[side]:
                left[side] -= 1
                continue
            batch = open_batches[side]
            batch.texts.append(text)
            batch.position = position
            sizes[side] += len(text)
            if sizes[side] >= BATCH_CHARACTERS or len(batch.texts) >= BATCH_DOCUMENTS:
                yield batch
                open_batches[side] = Batch(side, [], 0)
                sizes[side] = 0
        yield from (batch for batch in open_batches.values() if batch.texts)

    def documents(self) -> Iterator[tuple[str, str, int]]:
        """Yields (side, text, bytes of all inputs consumed) and keeps the counts."""
        start = 0
        for number, path in enumerate(self.files):
            for text, position in read_documents(path, self.columns):
                if not text:
                    self.empty += 1
                    continue
                side = self.side_of(text)
                self.counts[side][number].add(text)
                yield side, text, start + position
            start += path.stat().st_size

    def side_of(self, text: str) -> str:
        if not self.held_out:
            return "."
        number = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest())
        return "held_out" if number < self.held_out * 2**64 else "train"

    def check_not_empty(self, side: str) -> None:
        if any(count.documents for count in self.counts[side]):
            return
        total = sum(count.documents for counts in self.counts.values() for count in counts)
        if total == 0:
            raise SourceError(f"no text in {len(self.files)} input files: every document is empty")
        raise SourceError(
            f"--held-out {self.held_out:g} of {total} documents leaves {side} empty; change it"
        )

    def request(self) -> dict:
        """What has to be the same for a preparation to be continued."""
        stats = [path.stat() for path in self.files]
        return {
            "inputs": [
                [str(path), stat.st_size, stat.st_mtime_ns]
                for path, stat in zip(self.files, stats, strict=True)
            ],
            "columns": self.columns.names,
            "join": self.columns.join,
            "tokenizer": sha256_of(self.tokenizer_path),
            "eos": self.eos,
            "held_out": self.held_out,
            "shard_tokens": self.shard_tokens,
        }

    def description(self, side: str) -> dict:
        return {
            "vocab_size": self.vocab_size,
            "eos_token_id": self.eos,
            "tokenizer_sha256": sha256_of(self.tokenizer_path),
            "columns": self.columns.names,
            "sources": [
                {"name": path.name, "documents": count.documents, "characters": count.characters}
                for path, count in zip(self.files, self.counts[side], strict=True)
            ],
        }

    def progress_bar(self) -> "ProgressBar":
        return ProgressBar(sum(path.stat().st_size for path in self.files))

    def report(self, writers: list[ShardWriter], seconds: float) -> None:
        for writer, side in zip(writers, self.sides, strict=True):
            tokens = sum(shard["tokens"] for shard in writer.shards)
            characters = sum(count.characters for count in self.counts[side])
            print(
                f"{self.out / side}: {writer.documents():,} documents, {tokens:,} tokens "
                f"({characters / tokens:.2f} characters a token), shards: {len(writer.shards)}"
            )
        if self.empty:
            print(f"{self.empty:,} empty documents skipped")
        print(f"{seconds:.1f} s")


@dataclass
class Count:
    """Documents and characters that one source gave to one side."""

    documents: int = 0
    characters: int = 0

    def add(self, text: str) -> None:
        self.documents += 1
        self.characters += len(text)


class ProgressBar(tqdm):
    """Bytes of input done, their rate, the time left, and the tokens made so far."""

    def __init__(self, total: int):
        seconds = 0.2 if sys.stderr.isatty() else 30  # a log file does not need many lines
        super().__init__(
            total=total, unit="B", unit_scale=True, mininterval=seconds, dynamic_ncols=True
        )
        self.tokens = 0

    def advance(self, batch: EncodedBatch) -> None:
        self.tokens += len(batch.tokens)
        self.set_postfix_str(f"{self.tokens / 1e6:.1f} M tokens", refresh=False)
        self.update(max(0, batch.position - self.n))  # sides overtake each other a little


@contextmanager
def locked(folder: Path):
    """Keeps a second process out of the folder; the system drops the lock when we die."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise Error(f"{folder}: another process is preparing this folder") from error
    try:
        yield
    finally:
        os.close(descriptor)
