"""The result of a run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from torch import nn

Save = Callable[[Path], Path]
Ended = Literal["finished", "stopped early", "interrupted", "diverged"]


@dataclass(frozen=True, kw_only=True)
class Fit:
    """What came of a run."""

    net: nn.Module
    """The network with the best epoch's weights, in evaluation mode."""
    metrics: dict[str, float]
    """The best epoch's metrics; empty if no epoch had a finite one."""
    best_epoch: int | None
    epoch: int
    """Epochs done."""
    objective: float
    """The best value of the monitored metric; NaN if there is none."""
    ended: Ended
    """`finished`, `stopped early` by `patience`, `interrupted` by `stop`, or `diverged`: the loss
    became infinite or NaN."""
    save: Save
    """Write a checkpoint from which the run goes on."""
