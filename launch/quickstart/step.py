"""Steps that are done once: a finished one is skipped until it, or one before it, changes."""

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Step:
    name: str
    what: str  # for the person who watches
    recipe: str  # what its output depends on, beside the steps before it
    run: Callable[[], str | None]  # returns a summary
    whole: bool = False  # its output appears complete or not at all; otherwise `run` continues it


class Steps:
    """Runs steps in order. Each owns folder/NAME*; its recipe is kept in folder/finished/NAME."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.finished = folder / "finished"
        self.finished.mkdir(parents=True, exist_ok=True)
        self.number = 0
        self.changed = False

    def run(self, step: Step) -> None:
        self.number += 1
        title = f"[{self.number}] {step.what}"
        marker = self.finished / step.name
        if not self.changed and marker.exists() and marker.read_text() == step.recipe:
            print(f"{title}: finished before, skipped", flush=True)
            return
        if self.changed or marker.exists():
            self.remove_output(f"{step.name}*")
        elif step.whole:  # what it was still working on may be continued
            self.remove_output(step.name)
        marker.unlink(missing_ok=True)
        self.changed = True
        print(f"\n{title}", flush=True)
        started = time.monotonic()
        summary = step.run()
        marker.write_text(step.recipe)
        print(f"    {summary + ', ' if summary else ''}{time.monotonic() - started:.0f} s")

    def remove_output(self, pattern: str) -> None:
        for path in self.folder.glob(pattern):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
