"""Reads RUN/metrics.jsonl, the trainer's numbers: one JSON object a line with a "kind"."""

import json
import sys
from pathlib import Path

from wf.error import Error

Series = tuple[list[int], list[float]]  # steps, values


class Metrics:
    """One run's records by step; a step logged twice (a resumed run) counts as logged last."""

    def __init__(self, run: Path):
        self.path = run / "metrics.jsonl" if run.is_dir() else run
        if not self.path.is_file():
            raise Error(f"{self.path}: no such file; wf plot takes run folders of the trainer")
        self.name = self.path.parent.name
        by_kind = {"train": {}, "eval": {}, "layers": {}}
        for record in read_records(self.path):
            if record.get("kind") in by_kind:
                by_kind[record["kind"]][record["step"]] = record
        if not any(by_kind.values()):
            raise Error(f"{self.path}: holds no training, evaluation or layer records yet")
        ordered = {kind: [steps[step] for step in sorted(steps)] for kind, steps in by_kind.items()}
        self.train, self.eval, self.layers = ordered["train"], ordered["eval"], ordered["layers"]

    def series(self, kind: str, key: str) -> Series:
        """A value over the steps that have it; the trainer writes null for what is not finite."""
        records = [r for r in getattr(self, kind) if r.get(key) is not None]
        return [r["step"] for r in records], [r[key] for r in records]

    def layer_series(self, key: str) -> dict[str, Series]:
        """The same per layer, by layer name, in the order of the model."""
        series: dict[str, Series] = {}
        for record in self.layers:
            for layer in record["layers"]:
                if layer.get(key) is not None:
                    steps, values = series.setdefault(layer["name"], ([], []))
                    steps.append(record["step"])
                    values.append(layer[key])
        return series

    def last(self, kind: str, key: str) -> float | None:
        _, values = self.series(kind, key)
        return values[-1] if values else None


def read_records(path: Path) -> list[dict]:
    """All whole lines; what a kill left half-written is skipped, and said unless it is the end."""
    lines = path.read_text(errors="replace").split("\n")
    records = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            records.append(json.loads(line))
        except ValueError:
            if number < len(lines):
                print(f"wf: {path}:{number}: half-written line skipped", file=sys.stderr)
    return records
