"""Speed of `wf data prepare` beside tokenizers' own encode_batch, on the same text and cores.

    WF_TEST_DATA=FOLDER .venv/bin/python tests/bench/data_prepare.py [--rounds 5] [--workers N]

The two alternate, so that a busy machine disturbs both alike. encode_batch starts from strings in
memory and keeps nothing; preparation starts from the .jsonl file and ends with durable shards; its
time includes starting its processes.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tokenizers import Tokenizer


def encode_batch(tokenizer: Tokenizer, texts: list[str]) -> float:
    started = time.perf_counter()
    for i in range(0, len(texts), 256):
        tokenizer.encode_batch(texts[i : i + 256], add_special_tokens=False)
    return time.perf_counter() - started


def prepare(source: Path, tokenizer: Path, workers: int) -> float:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out"
        command = [sys.executable, "-m", "wf", "data", "prepare", str(source), "-o", str(out)]
        command += ["--tokenizer", str(tokenizer), "--workers", str(workers)]
        started = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--copies", type=int, default=4, help="of the text, for a longer run")
    options = parser.parse_args()
    data = Path(os.environ["WF_TEST_DATA"])
    tokenizer_path = data / "tokenizers/gpt2/tokenizer.json"
    os.environ["RAYON_NUM_THREADS"] = str(options.workers)

    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "prose.jsonl"
        with source.open("wb") as file:
            for _ in range(options.copies):
                with (data / "prose.train.jsonl").open("rb") as original:
                    shutil.copyfileobj(original, file)
        texts = [json.loads(line)["text"] for line in source.open()]
        characters = sum(map(len, texts))
        rounds = []
        for _ in range(options.rounds):
            theirs = encode_batch(Tokenizer.from_file(str(tokenizer_path)), texts)
            ours = prepare(source, tokenizer_path, options.workers)
            rounds.append((theirs, ours))
            print(f"encode_batch {theirs:.2f} s, wf data prepare {ours:.2f} s", flush=True)
    theirs, ours = (statistics.median(times) for times in zip(*rounds, strict=True))
    ratio = statistics.median(a / b for a, b in rounds)
    print(f"{characters / 1e6:.1f} M characters, {options.workers} workers, median of rounds:")
    print(f"encode_batch     {characters / theirs / 1e6:.2f} M characters/s")
    print(f"wf data prepare  {characters / ours / 1e6:.2f} M characters/s, ratio {ratio:.2f}")


if __name__ == "__main__":
    main()
