"""Statistics of columns, gathered block by block in one pass."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True, eq=False)
class Statistics:
    """Of each column of the rows seen so far: `[columns]`, float64; NaN counts as missing."""

    count: Tensor
    """Values that are not missing."""
    mean: Tensor
    """0 where every value is missing."""
    m2: Tensor
    """Sum of squared deviations from the mean."""
    low: Tensor
    """Least value; infinity where every value is missing."""
    high: Tensor

    @classmethod
    def of(cls, rows: Tensor) -> Statistics:
        """Of one block `[n, columns]`, n at least 1: the mean first, then the deviations."""
        x = rows.double()
        missing = x.isnan()
        count = (~missing).sum(0).double()
        mean = x.nansum(0) / count.clamp(min=1)
        return cls(
            count=count,
            mean=mean,
            m2=(x - mean).square().nansum(0),
            low=x.masked_fill(missing, torch.inf).amin(0),
            high=x.masked_fill(missing, -torch.inf).amax(0),
        )

    @classmethod
    def pooled(cls, blocks: Iterable[Tensor]) -> Statistics:
        """Of all blocks together; there is at least one."""
        return reduce(cls.merge, map(cls.of, blocks))

    def merge(self, other: Statistics) -> Statistics:
        """Of both sets of rows (Chan, Golub and LeVeque 1983, The American Statistician 37).

        With d the difference of the means and n = n_a + n_b:
        mean = mean_a + d n_b / n, M2 = M2_a + M2_b + d^2 n_a n_b / n.
        """
        count = self.count + other.count
        share = other.count / count.clamp(min=1)
        delta = other.mean - self.mean
        return Statistics(
            count=count,
            mean=self.mean + delta * share,
            m2=self.m2 + other.m2 + delta.square() * self.count * share,
            low=torch.minimum(self.low, other.low),
            high=torch.maximum(self.high, other.high),
        )

    @property
    def std(self) -> Tensor:
        """Standard deviation of the values themselves (divided by n, not n - 1)."""
        return (self.m2 / self.count.clamp(min=1)).sqrt()
