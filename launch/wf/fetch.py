"""Downloads a model folder from the cloud: what a model needs, resumed, each file checked."""

import contextlib
import fcntl
import hashlib
import json
import shutil
import time
from pathlib import Path

from wf.bucket import RemoteFile, first_line, open_bucket
from wf.durable import sync, sync_folder, write_json
from wf.error import Error
from wf.tokenizer import COMPANIONS

CHUNK = 16 << 20  # bytes a request asks for, and what an interruption loses at most
ATTEMPTS = 5  # in a row without a byte
RECORD = ".wf_fetch.json"  # which version of each file is here
INDEX, SINGLE = "model.safetensors.index.json", "model.safetensors"
LAST = "config.json"  # a folder that has it is complete


class Fetch:
    def __init__(self, url: str, folder: Path, progress):
        self.url, self.folder, self.progress = url, folder, progress
        self.bucket = open_bucket(url)

    def run(self) -> None:
        remote = {file.name: file for file in self.bucket.files()}
        if LAST not in remote:
            raise Error(f"{self.url}: has no config.json{listed(remote)}")
        self.folder.mkdir(parents=True, exist_ok=True)
        with self.locked():
            weights = self.weights(remote)
            small = ["tokenizer.json", *COMPANIONS]
            names = [*weights, *(name for name in small if name in remote), LAST]
            self.progress.start(sum(remote[name].size for name in names))
            self.check_room([remote[name] for name in names])
            for name in names:
                self.file(remote[name])

    def weights(self, remote: dict[str, RemoteFile]) -> list[str]:
        if INDEX in remote:
            self.file(remote[INDEX])
            try:
                index = json.loads((self.folder / INDEX).read_text())
                shards = sorted(set(index["weight_map"].values()))
            except (ValueError, KeyError, AttributeError) as error:
                raise Error(f"{self.url}/{INDEX}: no index of weights: {error!r}") from error
            if missing := [name for name in shards if name not in remote]:
                raise Error(f"{self.url}: {INDEX} names {missing[0]}, which is not there")
            return [*shards, INDEX]
        if SINGLE in remote:
            return [SINGLE]
        raise Error(
            f"{self.url}: has no {SINGLE}; pickled weights (*.bin, *.pt) are not fetched, because "
            f"loading them can run a program{listed(remote)}"
        )

    def file(self, remote: RemoteFile) -> None:
        version = self.versioned(remote.name)
        target = self.folder / remote.name
        if self.record().get(remote.name) == version and size_of(target) == remote.size:
            self.progress.add(remote.name, remote.size)
            return
        # The name carries the version, so that halves of two versions never meet.
        tag = hashlib.sha256(version.encode()).hexdigest()[:12]
        partial = target.with_name(f"{target.name}.{tag}.partial")
        for left in self.folder.glob(f"{target.name}.*.partial"):
            if left != partial:
                left.unlink()
        self.download(remote, partial)
        if self.versioned(remote.name) != version:
            partial.unlink()
            raise Error(f"{self.url}/{remote.name}: changed while it was fetched; fetch it again")
        self.remember(remote.name, None)
        partial.rename(target)
        sync_folder(self.folder)
        self.remember(remote.name, version)

    def download(self, remote: RemoteFile, partial: Path) -> None:
        done = size_of(partial) or 0
        if done > remote.size:
            partial.unlink()
            done = 0
        self.progress.add(remote.name, done)
        failures = 0
        while done < remote.size or not partial.exists():
            before = done
            try:
                done += self.append(remote, partial, done)
                if done < remote.size:
                    raise OSError("the connection ended early")
            except Exception as error:  # every library has its own
                done = size_of(partial) or 0
                failures = 0 if done > before else failures + 1
                if failures == ATTEMPTS:
                    raise Error(
                        f"{self.url}/{remote.name}: {first_line(error)}; {done:,} of "
                        f"{remote.size:,} bytes are kept, the same command goes on from there"
                    ) from error
                time.sleep(min(0.5 * 2**failures, 8))
        if (size := size_of(partial)) != remote.size:
            partial.unlink()
            raise Error(f"{self.url}/{remote.name}: {size:,} bytes came, not {remote.size:,}")

    def append(self, remote: RemoteFile, partial: Path, start: int) -> int:
        """Bytes added to `partial` until the source ends."""
        added = 0
        with partial.open("ab") as file:
            while start + added < remote.size:
                wanted = min(CHUNK, remote.size - start - added)
                part = self.bucket.read(remote.name, start + added, wanted)
                if not part:
                    break
                file.write(part)
                file.flush()
                added += len(part)
                self.progress.add(remote.name, len(part))
            sync(file)
        return added

    def versioned(self, name: str) -> str:
        try:
            return self.bucket.version(name)
        except Exception as error:  # every library has its own
            raise Error(f"{self.url}/{name}: {first_line(error)}") from error

    def record(self) -> dict[str, str]:
        try:
            return json.loads((self.folder / RECORD).read_text())
        except (OSError, ValueError):
            return {}

    def remember(self, name: str, version: str | None) -> None:
        kept = {other: known for other, known in self.record().items() if other != name}
        write_json(self.folder / RECORD, kept | ({name: version} if version else {}))

    def check_room(self, files: list[RemoteFile]) -> None:
        needed = sum(file.size for file in files)
        here = [path.stat().st_size for path in self.folder.iterdir() if path.is_file()]
        free = shutil.disk_usage(self.folder).free + sum(here)
        if needed > free:
            raise Error(
                f"{self.folder}: {needed / 1e9:.1f} GB are to be fetched and {free / 1e9:.1f} GB "
                "are free; choose a folder on another disk"
            )

    @contextlib.contextmanager
    def locked(self):
        with (self.folder / ".wf_fetch.lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise Error(f"{self.folder}: another `wf fetch` is filling it") from error
            yield
        (self.folder / ".wf_fetch.lock").unlink(missing_ok=True)


def size_of(path: Path) -> int | None:
    return path.stat().st_size if path.is_file() else None


def listed(remote: dict) -> str:
    names = sorted(remote)[:5]
    return f"; there are {', '.join(names)}" if names else "; it holds no files"
