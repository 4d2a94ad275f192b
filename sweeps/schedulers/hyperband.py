"""Hyperband: successive halving from several first rungs, in turn.

Li et al., "Hyperband: A Novel Bandit-Based Approach to Hyperparameter Optimization", JMLR 18(185),
2018, algorithm 1 and table 1.
"""

from __future__ import annotations

from sweeps.schedulers.brackets import Synchronous, hyperband_size, table
from sweeps.schedulers.rung import check


class Hyperband(Synchronous):
    """Brackets s_max, ..., 1, 0, over and over: from many configurations and few steps to the rest.

    Bracket s halves s times and begins at `max_t / reduction_factor**s` steps, rounded down; s_max
    is the largest with at least `grace_period`. It starts with as many configurations as the
    paper's table 1 says, floor((s_max + 1) / (s + 1)) * eta^s: for R = 81 and eta = 3 these are
    81, 27, 9, 6, 5, and every rung is an exact share of the one before. There the paper is at odds
    with itself: its algorithm 1 reads ceil((s_max + 1) / (s + 1) * eta^s), which makes 81, 34, 15,
    8, 5. The table is what its authors' published code computes, and the reference implementation
    of BOHB. What a rung waits for, and what fills the slots meanwhile: see `Synchronous`.

    Args:
        max_t: Steps after which a trial is complete (R in the paper).
        grace_period: The least steps of a first rung.
        reduction_factor: One in how many goes on from a rung (eta in the paper).
    """

    def __init__(self, *, max_t: int, grace_period: int = 1, reduction_factor: int = 3) -> None:
        check(max_t, grace_period, reduction_factor)
        steps = [max_t]
        while steps[0] // reduction_factor >= grace_period:
            steps.insert(0, steps[0] // reduction_factor)
        s_max = len(steps) - 1
        super().__init__(
            [
                table(
                    hyperband_size(s, s_max, reduction_factor),
                    steps[s_max - s :],
                    reduction_factor,
                )
                for s in range(s_max, -1, -1)
            ]
        )
