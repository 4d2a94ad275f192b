"""The lr range test."""

from __future__ import annotations

import csv
import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from models.data import Split, Stream
from models.training.batches import batch_sizes, epoch_batches
from models.training.step import GradientStep

SMOOTHING = 0.9
DIVERGED = 4.0


@dataclass(frozen=True, kw_only=True)
class LrRangeTest:
    """The training loss at each of ever larger learning rates, until it diverged."""

    lrs: list[float]
    losses: list[float]

    @property
    def smoothed(self) -> list[float]:
        """The losses as an exponential moving average, corrected for its beginning."""
        averages, average = [], 0.0
        for count, loss in enumerate(self.losses, start=1):
            average = SMOOTHING * average + (1 - SMOOTHING) * loss
            averages.append(average / (1 - SMOOTHING**count))
        return averages

    @property
    def lowest(self) -> float:
        """The learning rate at which the smoothed loss was lowest: there it begins to diverge."""
        return min(zip(self.smoothed, self.lrs, strict=True))[1]

    @property
    def suggestion(self) -> float:
        """A third of that, by Smith's rule (1/3 or 1/4): fast, at some distance from divergence."""
        return self.lowest / 3

    def write(self, file: Path) -> Path:
        """Write a CSV table of lr, loss and smoothed loss."""
        with file.open("w", newline="") as stream:
            writer = csv.writer(stream)
            writer.writerow(["lr", "loss", "smoothed"])
            writer.writerows(zip(self.lrs, self.losses, self.smoothed, strict=True))
        return file


def lr_range_test(
    step: GradientStep,
    split: Split | Stream,
    *,
    batch_size: int,
    seed: int,
    low: float,
    high: float,
    steps: int,
) -> LrRangeTest:
    """Train while the learning rate rises from `low` to `high`, by a constant factor a step.

    Smith 2017 (arXiv:1506.01186, section 3.3), with an exponential rise. It ends early once the
    smoothed loss is above four times its lowest, or not finite.
    """
    lrs: list[float] = []
    losses: list[float] = []
    average, lowest = 0.0, math.inf
    for count, (x, y) in enumerate(_endless(split, batch_size=batch_size, seed=seed)):
        lr = low * (high / low) ** (count / (steps - 1))
        for group in step.optimizer.param_groups:
            group["lr"] = lr
        loss = float(step(x, y))
        average = SMOOTHING * average + (1 - SMOOTHING) * loss
        smoothed = average / (1 - SMOOTHING ** (count + 1))
        if not math.isfinite(smoothed) or smoothed > DIVERGED * lowest:
            break
        lowest = min(lowest, smoothed)
        lrs.append(lr)
        losses.append(loss)
        if count + 1 == steps:
            break
    return LrRangeTest(lrs=lrs, losses=losses)


def _endless(
    split: Split | Stream, *, batch_size: int, seed: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches of one epoch after another."""
    sizes = batch_sizes(split.n_rows, batch_size)
    for epoch in itertools.count():
        yield from epoch_batches(split, sizes, seed=seed, epoch=epoch)
