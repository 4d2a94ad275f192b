"""A learning rate that falls when the monitored metric stands still."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from models.checks import integer, number
from models.training.schedules import Schedule


@dataclass(frozen=True, kw_only=True)
class ReduceOnPlateau(Schedule):
    """Multiply by `gamma` after more than `patience_epochs` epochs without a better metric.

    The rule of torch's `ReduceLROnPlateau` with an absolute threshold, written as a function of the
    metric's history: replaying it costs nothing beside an epoch, and there is no state to restore.

    Args:
        gamma: More than 0, less than 1.
        patience_epochs: Epochs that may pass without a better metric.
        min_delta: What is better is so by more than this.
        cooldown_epochs: Epochs after a reduction in which none is counted.
        final: The least factor.
        scale: What the history so far has made of the factor.
    """

    gamma: float = 0.1
    patience_epochs: int = 5
    min_delta: float = 1e-4
    cooldown_epochs: int = 0
    final: float = 0.0
    scale: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        gamma, patience = self.gamma, self.patience_epochs
        cooldown, final = self.cooldown_epochs, self.final
        number("lr_schedule.gamma", gamma, lambda v: 0 < v < 1, "more than 0 and less than 1")
        integer("lr_schedule.patience_epochs", patience, lambda v: v >= 0, "0 or more")
        number("lr_schedule.min_delta", self.min_delta, lambda v: v >= 0, "0 or more")
        integer("lr_schedule.cooldown_epochs", cooldown, lambda v: v >= 0, "0 or more")
        number("lr_schedule.final", final, lambda v: 0 <= v <= 1, "from 0 to 1")

    def decay(self, epoch: float, length: float) -> float:
        """The same for all of an epoch."""
        return self.scale

    def after(self, losses: Sequence[float]) -> Self:
        """Count the epochs without a better metric, and reduce at each plateau."""
        scale, best, waited, cooldown = 1.0, math.inf, 0, 0
        for loss in losses:
            is_better = loss < best - self.min_delta
            best = loss if is_better else best
            waited = 0 if is_better or cooldown else waited + 1
            cooldown = max(cooldown - 1, 0)
            if waited > self.patience_epochs:
                scale, waited, cooldown = scale * self.gamma, 0, self.cooldown_epochs
        return dataclasses.replace(self, scale=max(scale, self.final))
