"""BOHB's search: Bayesian optimization for Hyperband (Falkner, Klein & Hutter, ICML 2018)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from optuna.samplers import BaseSampler, RandomSampler

from sweeps.searchers.rungs import HighestRung
from sweeps.searchers.samplers import SamplerSearcher
from sweeps.searchers.tpe import check_candidates, tpe_sampler
from sweeps.searchers.view import View
from sweeps.space.space import Space


def bohb(
    *,
    space: Space,
    view: View,
    seed: int,
    rungs: Sequence[int],
    random_fraction: float = 1 / 3,
    top_n_percent: float = 15.0,
    n_ei_candidates: int = 64,
) -> SamplerSearcher:
    """A share at random, the rest by multivariate densities of the trials at the highest rung.

    Algorithm 2: with d parameters, the highest rung with N_min + 2 trials, N_min = d + 1, gives the
    model: the best `top_n_percent` of them, and N_min at least, the good density, the others the
    bad one. The densities are Optuna's Parzen estimators, whose bandwidths are their own. Trials
    below the rung count among the bad: those that wait or were stopped there, and those that run
    (constant liar).

    Args:
        space: What is swept.
        view: The trials so far.
        seed: The sweep's.
        rungs: The scheduler's; made for hyperband's. Without any, trials count by their ends.
        random_fraction: The share of random draws (rho), which keeps Hyperband's guarantees.
        top_n_percent: The share of good ones (q).
        n_ei_candidates: Draws from the good density (N_s), of which the best is taken.
    """
    if not 0 <= random_fraction <= 1:
        raise ValueError(f"random_fraction is {random_fraction}; it must be from 0 to 1")
    if not 0 < top_n_percent < 100:
        raise ValueError(f"top_n_percent is {top_n_percent}; it must be between 0 and 100")
    check_candidates(n_ei_candidates)
    n_min = len(space.parameters) + 1
    lens = view.lens = HighestRung(view, rungs, enough=n_min + 2)

    def good(finished: int) -> int:
        return max(n_min, int(lens.reached * top_n_percent / 100))

    def sampler(ask_seed: int) -> BaseSampler:
        if np.random.default_rng(ask_seed).random() < random_fraction:
            return RandomSampler(ask_seed)
        return tpe_sampler(
            space,
            seed=ask_seed,
            n_startup_trials=n_min + 2,
            n_ei_candidates=n_ei_candidates,
            gamma=good,
        )

    return SamplerSearcher(sampler, space=space, view=view, seed=seed)
