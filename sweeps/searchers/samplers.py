"""What searchers that are Optuna samplers share: each ask has a sampler of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.samplers import BaseSampler
from optuna.trial import Trial

from sweeps.searchers.base import ask_seed
from sweeps.searchers.view import View
from sweeps.space.space import Space


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
            lambda p: suggest(trial, p.optuna_name, self._distributions[p.optuna_name])
        )
        return self._view.get_trial(number).params  # plain numbers, as a journal gives them back


def suggest(trial: Trial, name: str, distribution: BaseDistribution) -> Any:
    """What the trial's sampler draws from a distribution."""
    match distribution:
        case CategoricalDistribution(choices=choices):
            return trial.suggest_categorical(name, choices)
        case IntDistribution(low=low, high=high, step=step, log=log):
            return trial.suggest_int(name, low, high, step=step, log=log)
        case FloatDistribution(low=low, high=high, step=step, log=log):
            return trial.suggest_float(name, low, high, step=step, log=log)
    raise TypeError(f"{distribution} is no distribution that Optuna samples")
