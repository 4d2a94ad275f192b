"""Learning rate schedules: pure functions of the position, so there is nothing to restore."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from models.choices import miss


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """The learning rate's factor over a run, with an optional linear warm-up.

    Args:
        epochs: Length of the run.
        warmup_epochs: Over so many epochs the factor rises linearly from near 0 to 1.
        every: The factor changes at each `step` or at each `epoch`.
    """

    epochs: int
    warmup_epochs: float = 0.0
    every: Literal["step", "epoch"] = "step"

    def __post_init__(self) -> None:
        if self.warmup_epochs < 0:
            raise ValueError(f"lr_schedule.warmup_epochs is {self.warmup_epochs}; 0 or more")
        if self.every not in ("step", "epoch"):
            raise ValueError(miss(self.every, ["step", "epoch"], key="lr_schedule.every"))

    def factor(self, step: int, steps_per_epoch: int) -> float:
        """The factor for step `step`, counted from 0 over the whole run."""
        if self.every == "epoch":
            position, unit = float(step // steps_per_epoch), 1.0
        else:
            position, unit = step / steps_per_epoch, 1 / steps_per_epoch
        if position < self.warmup_epochs:
            return min(1.0, (position + unit) / self.warmup_epochs)
        return self.decay(position - self.warmup_epochs)

    def decay(self, epoch: float) -> float:
        """The factor `epoch` epochs after the warm-up."""
        raise NotImplementedError

    @property
    def decay_epochs(self) -> float:
        """Epochs after the warm-up."""
        return max(self.epochs - self.warmup_epochs, 1e-9)


@dataclass(frozen=True, kw_only=True)
class Constant(Schedule):
    """The optimizer's own learning rate."""

    def decay(self, epoch: float) -> float:
        """1."""
        return 1.0


@dataclass(frozen=True, kw_only=True)
class Cosine(Schedule):
    """Half a cosine from 1 to `final` (Loshchilov and Hutter 2017, arXiv:1608.03983, no restarts).

    Args:
        final: The factor at the end of the run.
    """

    final: float = 0.0

    def decay(self, epoch: float) -> float:
        """From 1 at the end of the warm-up to `final` at the end of the run."""
        progress = min(epoch / self.decay_epochs, 1.0)
        return self.final + (1 - self.final) * 0.5 * (1 + math.cos(math.pi * progress))


@dataclass(frozen=True, kw_only=True)
class Exponential(Schedule):
    """A constant rate of decay, from 1 to `final`.

    Args:
        final: The factor at the end of the run, more than 0.
    """

    final: float = 0.01

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.final <= 0:
            raise ValueError(f"lr_schedule.final is {self.final}; it must be more than 0")

    def decay(self, epoch: float) -> float:
        """`final` to the power of the progress."""
        return float(self.final ** min(epoch / self.decay_epochs, 1.0))


@dataclass(frozen=True, kw_only=True)
class Step(Schedule):
    """Multiply by `gamma` every `step_epochs` epochs after the warm-up."""

    step_epochs: float = 10.0
    gamma: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.step_epochs <= 0:
            raise ValueError(f"lr_schedule.step_epochs is {self.step_epochs}; more than 0")

    def decay(self, epoch: float) -> float:
        """`gamma` to the number of whole steps."""
        return float(self.gamma ** (epoch // self.step_epochs))
