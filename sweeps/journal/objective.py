"""What a sweep optimizes: a metric and a direction, in one type."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Mode = Literal["min", "max"]
At = Literal["best", "last"]


@dataclass(frozen=True, kw_only=True)
class Objective:
    """A metric's name and whether less or more of it is better.

    Everything that ranks trials asks this type; nothing else compares with `<` or `>` by itself.
    """

    metric: str = "objective"
    mode: Mode = "min"
    at: At = "best"
    """Which of a trial's reports is its value."""
    others: tuple[Objective, ...] = ()
    """Where a sweep has several objectives, those after this first one, by which it compares."""

    def __post_init__(self) -> None:
        if self.mode not in ("min", "max"):
            raise ValueError(f"hydra.sweeper.mode is {self.mode!r}; choose min or max")
        if self.at not in ("best", "last"):
            raise ValueError(f"hydra.sweeper.objective_at is {self.at!r}; choose best or last")

    @property
    def all(self) -> tuple[Objective, ...]:
        """Every objective, this first one included."""
        return (self, *self.others)

    def loss(self, value: float) -> float:
        """The value turned so that less is better; what is not finite becomes `inf`."""
        if not math.isfinite(value):
            return math.inf
        return value if self.mode == "min" else -value

    def is_better(self, value: float, than: float | None) -> bool:
        """Whether `value` beats `than`; anything finite beats None and NaN."""
        return self.loss(value) < (math.inf if than is None else self.loss(than))

    def replaces(self, value: float, earlier: float | None) -> bool:
        """Whether a trial's newer report takes the place of the one that gave its value so far."""
        if self.at == "last":
            return math.isfinite(value)
        return self.is_better(value, earlier)

    def best(self, values: Iterable[float]) -> float | None:
        """The best finite value, or None where there is none."""
        finite = [value for value in values if math.isfinite(value)]
        return min(finite, key=self.loss, default=None)
