"""Searchers that are Optuna samplers, seeded afresh for each ask."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any

import optuna
from optuna.samplers import BaseSampler, RandomSampler, TPESampler

from sweeps.searchers.base import ask_seed
from sweeps.searchers.view import View
from sweeps.space import Space


class SamplerSearcher:
    """Asks an Optuna sampler over the view of the journal.

    A sampler that lives through a sweep carries its generator along, and a resumed sweep then
    repeats its first draws or goes another way. Here each ask builds its sampler from (sweep seed,
    trial number), so that a resumed sweep proposes what the unbroken one would have.
    """

    limit: int | None = None

    def __init__(
        self, sampler: Callable[[int], BaseSampler], *, space: Space, view: View, seed: int
    ) -> None:
        self._sampler = sampler
        self._view = view
        self._space = space
        self._distributions = space.distributions()
        self._seed = seed

    def ask(self, number: int, attempt: int = 0) -> Mapping[str, Any]:
        """The configuration of trial `number`; the view then shows that trial as running."""
        study = self._view.study
        study.sampler = self._sampler(ask_seed(self._seed, number, attempt))
        trial = study.ask()
        assert trial.number == number, f"the view is at trial {trial.number}, asked for {number}"
        self._space.draw(
            lambda p: trial._suggest(p.optuna_name, self._distributions[p.optuna_name])
        )
        return self._view.get_trial(number).params  # plain numbers, as a journal gives them back


def random(*, space: Space, view: View, seed: int) -> SamplerSearcher:
    """Uniform in the scaled space (Bergstra & Bengio 2012)."""
    return SamplerSearcher(RandomSampler, space=space, view=view, seed=seed)


def tpe(
    *,
    space: Space,
    view: View,
    seed: int,
    n_startup_trials: int = 10,
    n_ei_candidates: int = 24,
    multivariate: bool = True,
) -> SamplerSearcher:
    """Tree-structured Parzen estimator (Bergstra et al. 2011) with a constant liar."""

    def sampler(ask_seed: int) -> BaseSampler:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            return TPESampler(
                seed=ask_seed,
                n_startup_trials=n_startup_trials,
                n_ei_candidates=n_ei_candidates,
                multivariate=multivariate,
                constant_liar=True,
            )

    return SamplerSearcher(sampler, space=space, view=view, seed=seed)
