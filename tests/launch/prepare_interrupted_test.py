"""wf data prepare: whatever interrupts it, the same command then gives the same bytes."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from texts import make_texts, write_jsonl

SHARD_TOKENS = 60_000


@pytest.fixture
def arguments(tmp_path, tokenizer_folder) -> list[str]:
    source = write_jsonl(tmp_path / "a.jsonl", make_texts(20_000))
    options = ["--tokenizer", tokenizer_folder, "-o", tmp_path / "out", "--workers", 1]
    options += ["--held-out", 0.2, "--shard-tokens", SHARD_TOKENS]
    return [str(argument) for argument in ["data", "prepare", source, *options]]


def interrupt(arguments: list[str], partial: Path, number: int) -> subprocess.Popen:
    """Starts a preparation, sends the signal once shards are finished, waits for its end."""
    process = start(arguments, partial)
    process.send_signal(number)
    process.wait(timeout=60)
    return process


def start(arguments: list[str], partial: Path) -> subprocess.Popen:
    """A running preparation that has finished a few shards."""
    process = subprocess.Popen(
        [sys.executable, "-m", "wf", *arguments], stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 60
    while len(finished(partial)) < 4:
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.002)
    return process


def finished(partial: Path) -> list[str]:
    journal = partial / "journal.jsonl"
    return journal.read_text().split("\n")[1:-1] if journal.exists() else []


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.mark.parametrize("number, code", [(signal.SIGINT, 130), (signal.SIGKILL, -signal.SIGKILL)])
def test_the_same_command_continues(wf, tmp_path, arguments, number, code):
    out, partial = tmp_path / "out", tmp_path / "out.partial"
    process = interrupt(arguments, partial, number)
    assert process.returncode == code
    if number == signal.SIGINT:
        message = process.stderr.read()
        assert "continues at the last finished shard" in message and "Traceback" not in message
    assert not out.exists()
    kept = [json.loads(line) for line in finished(partial)]
    written = {
        shard["side"] + shard["tokens_file"]: (partial / shard["side"] / shard["tokens_file"])
        .stat()
        .st_mtime_ns
        for shard in kept
    }

    with (partial / "journal.jsonl").open("a") as journal:
        journal.write('{"side": "tra')  # a crash may tear the last line
    documents = sum(shard["documents"] for shard in kept)
    assert f"continuing after {documents} documents" in wf(*arguments).stdout
    assert not partial.exists()
    for shard in kept:  # finished shards were not made again
        path = out / shard["side"] / shard["tokens_file"]
        assert path.stat().st_mtime_ns == written[shard["side"] + shard["tokens_file"]]

    interrupted = contents(out)
    out.rename(tmp_path / "interrupted")
    wf(*arguments)
    assert contents(out) == interrupted


def test_a_killed_worker_is_an_error_and_the_work_goes_on(wf, tmp_path, arguments):
    out, partial = tmp_path / "out", tmp_path / "out.partial"
    process = start(arguments, partial)
    for worker in workers_of(process.pid):
        os.kill(worker, signal.SIGKILL)
    assert process.wait(timeout=60) == 1
    message = process.stderr.read()
    assert "encoding processes was killed" in message and "Traceback" not in message
    assert "continuing after" in wf(*arguments).stdout and out.exists()


def test_a_killed_preparation_leaves_no_processes(tmp_path, arguments):
    process = start(arguments, tmp_path / "out.partial")
    workers = workers_of(process.pid)
    assert workers
    process.kill()
    process.wait()
    deadline = time.monotonic() + 10
    while left := [pid for pid in workers if is_worker(pid)]:
        assert time.monotonic() < deadline, left
        time.sleep(0.05)


def workers_of(parent: int) -> list[int]:
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return [int(pid) for pid in children if is_worker(int(pid))]


def is_worker(pid: int) -> bool:
    try:
        return b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:  # ended meanwhile
        return False


def test_another_command_does_not_continue_it(wf, tmp_path, arguments):
    interrupt(arguments, tmp_path / "out.partial", signal.SIGKILL)
    changed = [*arguments[:-1], str(SHARD_TOKENS + 1)]
    assert "that differs in shard_tokens; repeat" in wf(*changed, expect=1).stderr
    assert finished(tmp_path / "out.partial")


def test_foreign_partial_folder_is_not_touched(wf, tmp_path, arguments):
    partial = tmp_path / "out.partial"
    partial.mkdir()
    (partial / "thesis.txt").write_text("mine")
    assert "not an interrupted preparation" in wf(*arguments, expect=1).stderr
    assert (partial / "thesis.txt").read_text() == "mine"


def test_a_second_process_is_refused(wf, tmp_path, arguments):
    import fcntl

    partial = tmp_path / "out.partial"
    partial.mkdir()
    descriptor = os.open(partial, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        assert "another process is preparing" in wf(*arguments, expect=1).stderr
    finally:
        os.close(descriptor)
