"""The four calls of the trainer: which config, and what differs from it."""

from dataclasses import dataclass
from pathlib import Path

# 1024 tokens a step: small batches learn more from a million tokens than large ones.
BATCH = {"batch.rows": 4, "batch.sequence_length": 256}
TRAINING = BATCH | {"evaluate.every": 200, "lr.value": 3e-3}


@dataclass(frozen=True)
class Stage:
    name: str  # of its config, and of its run folder
    what: str  # for the person who watches
    overrides: dict[str, object]
    whole: bool = False  # cannot be continued: started again if it was interrupted

    @property
    def config(self) -> str:
        return f"configs/{self.name}.yaml"

    def command(self, programs: Path, folder: Path) -> list[str]:
        overrides = {"folder": folder, "name": self.name} | self.overrides
        return [
            str(programs / "wftrain"),
            "--config",
            self.config,
            *(f"{key}={value}" for key, value in overrides.items()),
        ]


def make_stages(folder: Path) -> list[Stage]:
    """Each stage reads the folder that the one before it wrote."""
    data = {
        "data.sources": f"[{{path: {folder}/data/train}}]",
        "evaluate.path": f"{folder}/data/held_out",
    }
    return [
        Stage(
            "pretrain",
            "train a small model in full precision",
            {"model.path": folder / "model"} | data | TRAINING | {"steps": 1000},
        ),
        Stage(
            "stage1",
            "stage 1: insert the norms that ternary layers need",
            {"model.path": folder / "pretrain"} | data | BATCH,
        ),
        Stage(
            "stage2",
            "stage 2: train it on with ternary weights",
            {"model.path": folder / "stage1"} | data | TRAINING | {"steps": 900},
        ),
        Stage("export", "export for transformers", {"model.path": folder / "stage2"}, whole=True),
    ]
