"""Learning rate schedules: pure functions of position and history, with nothing to restore."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Self

from models.checks import integer, number
from models.choices import miss


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """The learning rate's factor over a run, with an optional linear warm-up.

    Args:
        epochs: Length of the run.
        warmup_epochs: Over so many epochs the factor rises linearly from near 0 to 1.
        warmup_steps: The same in steps; at most one of the two is set.
        every: After the warm-up the factor changes at each `step` or at each `epoch`.

    Raises:
        ValueError: An option is out of its range.
    """

    epochs: int
    warmup_epochs: float = 0.0
    warmup_steps: int = 0
    every: Literal["step", "epoch"] = "step"

    def __post_init__(self) -> None:
        number("lr_schedule.warmup_epochs", self.warmup_epochs, lambda v: v >= 0, "0 or more")
        integer("lr_schedule.warmup_steps", self.warmup_steps, lambda v: v >= 0, "0 or more")
        if self.warmup_epochs and self.warmup_steps:
            raise ValueError(
                f"lr_schedule.warmup_epochs is {self.warmup_epochs} and lr_schedule.warmup_steps "
                f"is {self.warmup_steps}; at most one of them may be more than 0"
            )
        if self.every not in ("step", "epoch"):
            raise ValueError(miss(self.every, ["step", "epoch"], key="lr_schedule.every"))

    def factor(self, step: int, steps_per_epoch: int) -> float:
        """The factor for step `step`, counted from 0 over the whole run."""
        if step < self.warmup_steps:
            return (step + 1) / self.warmup_steps
        if self.every == "epoch":
            position, unit = float(step // steps_per_epoch), 1.0
        else:
            position, unit = step / steps_per_epoch, 1 / steps_per_epoch
        if position < self.warmup_epochs:
            return min(1.0, (position + unit) / self.warmup_epochs)
        warmup = self.warmup_epochs or self.warmup_steps / steps_per_epoch
        return self.decay(max(position - warmup, 0.0), max(self.epochs - warmup, 1e-9))

    def decay(self, epoch: float, length: float) -> float:
        """The factor `epoch` epochs after the warm-up, of `length` that there are."""
        raise NotImplementedError

    def after(self, losses: Sequence[float]) -> Self:
        """The schedule once the monitored metric was seen at the end of each epoch so far.

        Args:
            losses: One number an epoch, of which less is better.
        """
        return self


@dataclass(frozen=True, kw_only=True)
class Constant(Schedule):
    """The optimizer's own learning rate."""

    def decay(self, epoch: float, length: float) -> float:
        """1."""
        return 1.0


@dataclass(frozen=True, kw_only=True)
class Cosine(Schedule):
    """Half a cosine from 1 to `final` (Loshchilov and Hutter 2017, arXiv:1608.03983, no restarts).

    Args:
        final: The factor at the end of the run.
    """

    final: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        number("lr_schedule.final", self.final, lambda v: v >= 0, "0 or more")

    def decay(self, epoch: float, length: float) -> float:
        """From 1 at the end of the warm-up to `final` at the end of the run."""
        return half_cosine(1.0, self.final, epoch / length)


@dataclass(frozen=True, kw_only=True)
class Exponential(Schedule):
    """Multiply by `gamma` in each epoch after the warm-up, a little at each step.

    Args:
        gamma: More than 0, at most 1.
    """

    gamma: float = 0.98

    def __post_init__(self) -> None:
        super().__post_init__()
        number("lr_schedule.gamma", self.gamma, lambda v: 0 < v <= 1, "more than 0 and at most 1")

    def decay(self, epoch: float, length: float) -> float:
        """`gamma` to the number of epochs."""
        return float(self.gamma**epoch)


@dataclass(frozen=True, kw_only=True)
class Step(Schedule):
    """Multiply by `gamma` every `step_epochs` epochs after the warm-up."""

    step_epochs: float = 10.0
    gamma: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        number("lr_schedule.step_epochs", self.step_epochs, lambda v: v > 0, "more than 0")
        number("lr_schedule.gamma", self.gamma, lambda v: v > 0, "more than 0")

    def decay(self, epoch: float, length: float) -> float:
        """`gamma` to the number of whole steps."""
        return float(self.gamma ** (epoch // self.step_epochs))


@dataclass(frozen=True, kw_only=True)
class OneCycle(Schedule):
    """One cycle: up to the optimizer's learning rate, and down far below where it began.

    Smith and Topin 2018 (arXiv:1708.07120), with half cosines in place of straight lines. The
    optimizer's learning rate is the largest: an lr range test finds it. Momentum stays as it is.

    Args:
        rise: Share of the run in which the factor rises, more than 0 and less than 1.
        initial: The factor at the beginning.
        final: The factor at the end of the run.
    """

    rise: float = 0.3
    initial: float = 0.04
    final: float = 4e-6

    def __post_init__(self) -> None:
        super().__post_init__()
        number("lr_schedule.rise", self.rise, lambda v: 0 < v < 1, "more than 0 and less than 1")
        number("lr_schedule.initial", self.initial, lambda v: 0 < v <= 1, "more than 0, at most 1")
        number("lr_schedule.final", self.final, lambda v: 0 <= v <= 1, "from 0 to 1")

    def decay(self, epoch: float, length: float) -> float:
        """From `initial` up to 1, and down to `final`."""
        progress = epoch / length
        if progress < self.rise:
            return half_cosine(self.initial, 1.0, progress / self.rise)
        return half_cosine(1.0, self.final, (progress - self.rise) / (1 - self.rise))


def half_cosine(start: float, end: float, progress: float) -> float:
    """From `start` to `end` as `progress` goes from 0 to 1, level at both ends; `end` from 1 on."""
    return end + (start - end) * 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))
