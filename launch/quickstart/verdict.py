"""Did it learn? Losses on held-out text, against the base model and against no context at all."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from wf.metrics import Metrics
from wf.token_folder import TokenFolder

WORST_GAP = 0.3  # nats per token that the ternary model may lose to its full-precision base
LEAST_GAIN = 1.5  # nats per token that it must be better than a model without context


@dataclass(frozen=True)
class Verdict:
    """Nats per token on the same held-out text."""

    unigram: float
    full: float
    ternary: float

    def __str__(self) -> str:
        return (
            f"held-out loss, nats per token:\n"
            f"  {self.unigram:.3f}  knowing only how frequent each token is\n"
            f"  {self.full:.3f}  full-precision base model\n"
            f"  {self.ternary:.3f}  ternary model (1.58 bits a weight)"
        )

    def problem(self) -> str | None:
        """Why this is not a success, as a sentence."""
        if not self.ternary <= self.full + WORST_GAP:  # also true for NaN
            return f"the ternary model is more than {WORST_GAP} nats worse than its base"
        if not self.ternary <= self.unigram - LEAST_GAIN:
            return f"the ternary model is not {LEAST_GAIN} nats better than token frequencies"
        return None


def judge(held_out: Path, base: Path, ternary: Path) -> Verdict:
    """From prepared held-out data and the run folders of the two models."""
    losses = Metrics(base).last("eval", "loss_full"), Metrics(ternary).last("eval", "loss_ternary")
    full, final = (float("nan") if loss is None else loss for loss in losses)
    return Verdict(unigram_entropy(TokenFolder(held_out)), full, final)


def unigram_entropy(data: TokenFolder) -> float:
    """Nats per token of the best model without context: the data's own token frequencies."""
    counts = sum(
        np.bincount(data.tokens(shard), minlength=data.manifest["vocab_size"])
        for shard in data.shards
    )
    shares = counts[counts > 0] / counts.sum()
    return float(-(shares * np.log(shares)).sum())
