"""What an unfinished preparation has done so far, so that the same command can go on."""

import json
from pathlib import Path

from wf.durable import sync, sync_folder
from wf.error import Error

ASIDE = "journal.jsonl.partial"


class Journal:
    """One JSON line saying what was asked for, then one per finished shard."""

    def __init__(self, folder: Path, request: dict):
        self.path = folder / "journal.jsonl"
        lines = self.read(folder)
        if lines:
            check_request(folder, lines[0], request)
        self.shards = lines[1:]
        aside = folder / ASIDE  # without the line that a crash may have torn
        self.file = aside.open("w")
        for line in [request, *self.shards]:
            self.write(line)
        aside.rename(self.path)
        sync_folder(folder)

    def read(self, folder: Path) -> list[dict]:
        if not self.path.exists():
            if any(entry.name != ASIDE for entry in folder.iterdir()):
                raise Error(f"{folder}: not an interrupted preparation; remove it or change -o")
            return []
        lines = self.path.read_text().split("\n")
        return [json.loads(line) for line in lines[:-1]]  # what follows the last \n is torn

    def write(self, line: dict) -> None:
        self.file.write(json.dumps(line) + "\n")
        sync(self.file)

    def add(self, side: str, shard: dict) -> None:
        self.write({"side": side, **shard})

    def finished(self, side: str) -> list[dict]:
        """The shards already written for one side, in order."""
        return [
            {key: value for key, value in shard.items() if key != "side"}
            for shard in self.shards
            if shard["side"] == side
        ]


def check_request(folder: Path, old: dict, new: dict) -> None:
    changed = [key for key in new if old.get(key) != new[key]]
    if changed:
        raise Error(
            f"{folder}: an interrupted preparation that differs in {', '.join(changed)}; "
            "repeat its command to continue it, or remove the folder to start over"
        )
