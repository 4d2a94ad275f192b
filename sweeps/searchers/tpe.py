"""The tree-structured Parzen estimator (Bergstra et al., NIPS 2011), by Optuna."""

from __future__ import annotations

import warnings
from typing import Any

import optuna
from optuna.samplers import BaseSampler, TPESampler

from sweeps.searchers.samplers import SamplerSearcher
from sweeps.searchers.view import View
from sweeps.space.space import Space


def tpe(
    *,
    space: Space,
    view: View,
    seed: int,
    n_startup_trials: int = 10,
    n_ei_candidates: int = 24,
    multivariate: bool = True,
) -> SamplerSearcher:
    """TPE with a constant liar; multivariate, by groups of parameters that exist together.

    Args:
        space: What is swept.
        view: The trials so far.
        seed: The sweep's.
        n_startup_trials: Random draws before the model is asked.
        n_ei_candidates: Draws from the good ones' density, of which the best is taken.
        multivariate: Whether the densities are joint over the parameters (Falkner et al. 2018).
    """

    if n_startup_trials < 0:
        raise ValueError(f"n_startup_trials is {n_startup_trials}; it must be 0 or more")
    check_candidates(n_ei_candidates)

    def sampler(ask_seed: int) -> BaseSampler:
        return tpe_sampler(
            space,
            seed=ask_seed,
            n_startup_trials=n_startup_trials,
            n_ei_candidates=n_ei_candidates,
            multivariate=multivariate,
        )

    return SamplerSearcher(sampler, space=space, view=view, seed=seed)


def check_candidates(n_ei_candidates: int) -> None:
    """See that there are some to choose from.

    Raises:
        ValueError: There are none.
    """
    if n_ei_candidates < 1:
        raise ValueError(f"n_ei_candidates is {n_ei_candidates}; it must be 1 or more")


def tpe_sampler(space: Space, *, multivariate: bool = True, **options: Any) -> BaseSampler:
    """Optuna's sampler with a constant liar; joint densities need groups in a conditional space."""
    group = multivariate and space.is_conditional
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # group
        warnings.simplefilter("ignore", FutureWarning)  # gamma
        return TPESampler(multivariate=multivariate, group=group, constant_liar=True, **options)
