"""`wf fetch` from emulated clouds: what it takes, what it leaves, and what happens in between."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from storages import S3, Gcs, Hub, Network, clean_environment
from wf import fetch
from wf.error import Error
from wf.fetch_command import Progress

BIG = 40_000_000  # more than two of the parts that are asked for at a time
TIMEOUT_S = 120


@pytest.fixture(scope="module", params=[S3, Gcs, Hub], ids=lambda storage: storage.scheme)
def storage(request, tmp_path_factory):
    storage = request.param(tmp_path_factory.mktemp("storage"))
    yield storage
    storage.stop()


@pytest.fixture
def cloud(storage, tmp_path):
    cloud = Cloud(storage, tmp_path)
    yield cloud
    cloud.network.close()


class Cloud:
    def __init__(self, storage, tmp_path):
        self.storage, self.tmp_path = storage, tmp_path
        self.name, self.network = tmp_path.name, Network(storage.port)
        self.folder = tmp_path / "model"

    def put(self, files: dict[str, bytes]):
        for name, content in files.items():
            self.storage.put(f"{self.name}/{name}", content)

    def start(self, url=None):
        command = [sys.executable, "-m", "wf", "fetch", url or self.storage.address(self.name)]
        environment = clean_environment() | self.storage.environment(self.network.port)
        environment["HF_HOME"] = str(self.tmp_path / "hf")
        return subprocess.Popen(
            [*command, str(self.folder)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )

    def run(self, expect=0, url=None) -> str:
        process = self.start(url)
        out, err = process.communicate(timeout=TIMEOUT_S)
        assert process.returncode == expect, out + err
        assert "Traceback" not in err, err
        return out + err

    def fetched(self) -> dict[str, bytes]:
        return {
            path.name: path.read_bytes()
            for path in self.folder.iterdir()
            if not path.name.startswith(".")
        }

    def partial_bytes(self) -> int:
        found = list(self.folder.glob("*.partial")) if self.folder.is_dir() else []
        return sum(path.stat().st_size for path in found)


MODEL = {
    "config.json": b'{"model_type": "llama"}',
    "tokenizer.json": b"{}",
    "tokenizer_config.json": b'{"eos_token": "e"}',
    "generation_config.json": b"{}",
    "model.safetensors": bytes(range(256)) * 100,
}
UNWANTED = {
    "optimizer.safetensors": b"moments",
    "pytorch_model.bin": b"pickle",
    "training_args.bin": b"pickle",
    "README.md": b"words",
    "modeling.py": b"program",
}


def test_takes_the_model_and_leaves_the_rest(cloud):
    cloud.put(MODEL | UNWANTED)
    assert str(cloud.folder) in cloud.run()
    assert cloud.fetched() == MODEL


def test_takes_the_shards_that_the_index_names(cloud):
    shards = {f"model-0000{i}-of-00002.safetensors": os.urandom(50_000) for i in (1, 2)}
    index = json.dumps({"weight_map": dict(zip("ab", shards, strict=True))}).encode()
    wanted = {"config.json": b"{}", "model.safetensors.index.json": index} | shards
    cloud.put(wanted | {"consolidated.safetensors": b"twice", "model-extra.safetensors": b"old"})
    cloud.run()
    assert cloud.fetched() == wanted


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGKILL], ids=["ctrl-c", "killed"])
def test_goes_on_where_it_was_interrupted(cloud, sent):
    model = MODEL | {"model.safetensors": os.urandom(BIG)}
    cloud.put(model)
    cloud.network.stalls_after = 20_000_000
    process = cloud.start()
    deadline = time.monotonic() + TIMEOUT_S
    while cloud.partial_bytes() < 16_000_000 and time.monotonic() < deadline:
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.05)
    process.send_signal(sent)
    error = process.communicate(timeout=30)[1]
    if sent == signal.SIGINT:
        assert process.returncode == 130
        assert "interrupted; the same command goes on from here" in error
    assert not (cloud.folder / "config.json").exists()
    kept = cloud.partial_bytes()
    assert kept >= 16_000_000
    cloud.network.broken = True
    time.sleep(0.2)
    cloud.network.heal()
    cloud.run()
    assert cloud.fetched() == model
    assert cloud.network.passed < BIG - kept + 1_000_000


def test_fetches_only_what_has_changed(cloud):
    model = MODEL | {"model.safetensors": os.urandom(1_000_000)}
    cloud.put(model)
    cloud.run()
    cloud.network.heal()
    cloud.run()
    assert cloud.network.passed < 100_000
    changed = model | {"model.safetensors": os.urandom(1_000_000)}  # as large as before
    cloud.put(changed)
    cloud.run()
    assert cloud.fetched() == changed


def test_what_is_not_there_is_said_in_a_sentence(cloud):
    missing = cloud.storage.address("nothing-here")
    assert "no such" in cloud.run(expect=1, url=missing).lower()
    cloud.put({"weights.bin": b"x"})
    assert "has no config.json; there are weights.bin" in cloud.run(expect=1)
    cloud.put({"config.json": b"{}"})
    assert "has no model.safetensors; pickled weights" in cloud.run(expect=1)
    cloud.put({"model.safetensors.index.json": b'{"weight_map": {"a": "gone.safetensors"}}'})
    assert "names gone.safetensors, which is not there" in cloud.run(expect=1)
    assert "config.json" not in cloud.fetched()


def test_a_storage_that_cannot_be_reached_is_said_in_a_sentence(cloud):
    cloud.network.close()
    said = cloud.run(expect=1)
    assert said.startswith(f"wf: {cloud.storage.address(cloud.name)}: "), said
    assert said.count("\n") == 1


def test_wrong_urls_are_said_in_a_sentence(wf, tmp_path):
    for url in ("ftp://x/y", "/local/folder", "gs://", "hf://model"):
        assert f"{url}: expected" in wf("fetch", url, tmp_path / "m", expect=1).stderr


class Failing:
    """A bucket whose connection ends after `limit` bytes; `silent`: without saying so."""

    def __init__(self, limit, silent=False):
        self.limit, self.silent = limit, silent
        self.content = {"config.json": b"{}", "model.safetensors": bytes(100)}

    def files(self):
        return [fetch.RemoteFile(name, len(content)) for name, content in self.content.items()]

    def version(self, name):
        return "1"

    def read(self, name, start, size):
        part = self.content[name][start : min(start + min(size, 10), self.limit)]
        if not part and not self.silent:
            raise ConnectionResetError("reset by peer")
        return part


@pytest.mark.parametrize("silent", [False, True])
def test_a_connection_that_is_lost_keeps_what_came(tmp_path, monkeypatch, silent):
    bucket = Failing(limit=70, silent=silent)
    monkeypatch.setattr(fetch, "open_bucket", lambda _: bucket)
    monkeypatch.setattr(fetch.time, "sleep", lambda _: None)
    fetching = fetch.Fetch("gs://b/f", tmp_path / "m", Progress())
    with pytest.raises(Error, match="70 of 100 bytes are kept, the same command goes on"):
        fetching.run()
    assert not (tmp_path / "m" / "model.safetensors").exists()
    bucket.limit = 100
    fetching.run()
    assert (tmp_path / "m" / "model.safetensors").read_bytes() == bytes(100)


def test_more_bytes_than_were_announced_are_refused(tmp_path, monkeypatch):
    bucket = Failing(limit=100)
    monkeypatch.setattr(bucket, "read", lambda name, start, size: bytes(150))  # deaf to ranges
    monkeypatch.setattr(fetch, "open_bucket", lambda _: bucket)
    with pytest.raises(Error, match=": 150 bytes came, not 100"):
        fetch.Fetch("gs://b/f", tmp_path / "m", Progress()).run()
    assert not list((tmp_path / "m").glob("*safetensors*"))


def test_a_disk_that_is_too_small_is_refused_before_anything_is_fetched(tmp_path, monkeypatch):
    bucket = Failing(limit=100)
    monkeypatch.setattr(
        bucket,
        "files",
        lambda: [fetch.RemoteFile("config.json", 2), fetch.RemoteFile("model.safetensors", 10**18)],
    )
    monkeypatch.setattr(fetch, "open_bucket", lambda _: bucket)
    with pytest.raises(Error, match="choose a folder on another disk"):
        fetch.Fetch("gs://b/f", tmp_path / "m", Progress()).run()


def test_two_at_a_time_are_refused(cloud):
    cloud.put(MODEL)
    cloud.run()
    import fcntl

    with (cloud.folder / ".wf_fetch.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert "another `wf fetch` is filling it" in cloud.run(expect=1)
