"""A fidelity other than the step: a share of the data, or the size of the model.

A trial cannot go on at another fidelity, so it is trained anew at each rung. Its step in the
journal is the rung's index, from 1; the scheduler sees the resource that it expects there,
`reduction_factor ** (index - 1)`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Fidelity:
    """A parameter of the app's config, from `min` at the first rung to `max` at the last.

    The rungs lie evenly on a log scale, near `reduction_factor` apart.

    Raises:
        ValueError: The ends are not 0 < min < max.
    """

    name: str
    min: float
    max: float
    reduction_factor: int = 3

    def __post_init__(self) -> None:
        if not 0 < self.min < self.max or not math.isfinite(self.max):
            raise ValueError(f"min is {self.min} and max is {self.max}; it must be 0 < min < max")

    @property
    def rungs(self) -> int:
        """How many rungs there are."""
        factors = math.log(self.max / self.min) / math.log(self.reduction_factor)
        return 1 + max(1, round(factors))

    @property
    def max_t(self) -> int:
        """The resource at the last rung, as the scheduler counts it."""
        return self.resource(self.rungs)

    def resource(self, rung: int) -> int:
        """What the scheduler takes rung number `rung` for, from 1."""
        return int(self.reduction_factor ** (rung - 1))

    def rung(self, resource: int) -> int:
        """The rung that a scheduler means by a resource: the inverse of `resource`."""
        return 1 + round(math.log(resource, self.reduction_factor))

    def value(self, rung: int) -> float:
        """What to train at on a rung: an integer where both ends are."""
        if rung == self.rungs:
            return self.max
        value = self.min * math.pow(self.max / self.min, (rung - 1) / (self.rungs - 1))
        whole = isinstance(self.min, int) and isinstance(self.max, int)
        return round(value) if whole else value
