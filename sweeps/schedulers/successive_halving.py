"""Successive halving in synchronous brackets.

Jamieson & Talwalkar, "Non-stochastic Best Arm Identification and Hyperparameter Optimization",
AISTATS 2016; with pauses at geometric rungs as in Li et al. 2020, algorithm 1.
"""

from __future__ import annotations

from sweeps.schedulers.brackets import Synchronous, table
from sweeps.schedulers.rung import levels


class SuccessiveHalving(Synchronous):
    """Brackets of `n` configurations; one in `reduction_factor` goes on from each rung.

    Rungs stand as in `Asha`. What a bracket's rung waits for, and what fills the slots meanwhile:
    see `Synchronous`.

    Args:
        max_t: Steps after which a trial is complete.
        grace_period: Steps of the first rung.
        reduction_factor: One in how many goes on from a rung (eta in the paper).
        n: How many configurations a bracket starts with; by default as many as leave one at the
            top, which is the least.
    """

    def __init__(
        self,
        *,
        max_t: int,
        grace_period: int = 1,
        reduction_factor: int = 3,
        n: int | None = None,
    ) -> None:
        steps = levels(max_t, grace_period, reduction_factor)
        least = reduction_factor ** (len(steps) - 1)
        if n is not None and n < least:
            raise ValueError(f"n is {n}; it must be {least} or more, so that one reaches max_t")
        super().__init__([table(n or least, steps, reduction_factor)])
