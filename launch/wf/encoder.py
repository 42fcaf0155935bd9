"""Encodes batches of documents in worker processes, handing them back in order."""

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from wf.error import Error
from wf.tokenizer import load_tokenizer

BATCHES_PER_WORKER = 4  # in flight: enough to keep a worker busy, little enough to bound memory


@dataclass
class Batch:
    """Documents on their way to one folder; `position` counts input bytes, for the progress bar."""

    side: str
    texts: list[str]
    position: int


@dataclass
class EncodedBatch:
    side: str
    position: int
    tokens: np.ndarray  # [sum of lengths], every document followed by EOS
    lengths: np.ndarray  # [documents], EOS included


class Encoder:
    def __init__(self, tokenizer: Path, eos: int, dtype: str, workers: int):
        self.workers = workers
        # spawn: a fork would inherit the state of tokenizers' thread pool
        self.pool = ProcessPoolExecutor(
            workers,
            mp_context=multiprocessing.get_context("spawn"),
            initializer=start_worker,
            initargs=(tokenizer, eos, dtype),
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.pool.shutdown(cancel_futures=True)

    def encode(self, batches: Iterable[Batch]) -> Iterator[EncodedBatch]:
        pending = deque()
        try:
            for batch in batches:
                pending.append(self.pool.submit(encode_batch, batch))
                if len(pending) >= self.workers * BATCHES_PER_WORKER:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        except BrokenProcessPool as error:
            # Before 3.11.5 Python would wait for a pipe that nobody reads any more (gh-94777).
            self.pool._call_queue._reader.close()
            raise Error(
                f"one of {self.workers} encoding processes was killed (out of memory?); the same "
                "command with a smaller --workers continues at the last finished shard"
            ) from error


def start_worker(tokenizer: Path, eos: int, dtype: str) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    threading.Thread(target=follow_parent, daemon=True).start()
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # the processes are the parallelism
    global worker  # a pool offers its workers no other place to keep what they load once
    worker = (load_tokenizer(tokenizer), eos, dtype)


def follow_parent() -> None:
    """A parent that is killed cannot tell its workers: they would wait for work for ever."""
    multiprocessing.parent_process().join()
    os._exit(1)


def encode_batch(batch: Batch) -> EncodedBatch:
    tokenizer, eos, dtype = worker
    encodings = tokenizer.encode_batch_fast(batch.texts, add_special_tokens=False)
    ids = []
    lengths = np.empty(len(encodings), dtype=np.int64)
    for i, encoding in enumerate(encodings):
        document = encoding.ids
        ids += document
        ids.append(eos)
        lengths[i] = len(document) + 1
    return EncodedBatch(batch.side, batch.position, np.array(ids, dtype=dtype), lengths)
