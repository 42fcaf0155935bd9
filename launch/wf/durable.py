"""Writes that survive a crash: on disk before anything refers to them."""

import json
import os
from pathlib import Path


def sync(file) -> None:
    file.flush()
    os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Makes the names in a folder (new, renamed, removed files) durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_json(path: Path, value) -> None:
    """All or nothing: readers see the old file or the new one."""
    aside = path.with_name(path.name + ".partial")
    with aside.open("w") as file:
        json.dump(value, file, indent=1)
        sync(file)
    aside.rename(path)
    sync_folder(path.parent)
