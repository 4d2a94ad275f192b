"""Peers behind the clock's interface: each its own objects, with the same rungs as ours.

All have a first rung at one step, a reduction factor of 3 and `max_t`.
"""

from __future__ import annotations

import logging
import random
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.samplers import TPESampler

from quality.problems import Missing, Problem, Values
from sweeps.journal.objective import Objective
from sweeps.searchers import View, make_searcher
from sweeps.space.space import Parameter

ETA = 3


class OptunaPeer:
    """Raw Optuna: one TPE sampler with its defaults, and a pruner; conditions by define-by-run."""

    def __init__(self, problem: Problem, seed: int, *, pruner: str | None) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._space = problem.space
        self._study = optuna.create_study(
            study_name=f"seed {seed}",  # the Hyperband pruner draws brackets by it
            sampler=TPESampler(seed=seed),
            pruner=_pruner(pruner, problem.max_t),
        )
        self._trials: dict[int, optuna.Trial] = {}

    def start(self) -> tuple[int, Values]:
        """Ask."""
        trial = self._study.ask()
        self._trials[trial.number] = trial
        drawn = self._space.draw(lambda parameter: _suggest(trial, parameter))
        return trial.number, self._space.values(drawn)

    def report(self, number: int, step: int, loss: float, *, last: bool) -> bool:
        """Report, and tell at the end."""
        trial = self._trials[number]
        trial.report(loss, step)
        if last:
            self._study.tell(trial, loss)
            return False
        if trial.should_prune():
            self._study.tell(trial, state=optuna.trial.TrialState.PRUNED)
            return False
        return True


def _pruner(name: str | None, max_t: int) -> optuna.pruners.BasePruner:
    match name:
        case "successive_halving":
            return optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=ETA)
        case "hyperband":
            return optuna.pruners.HyperbandPruner(
                min_resource=1, max_resource=max_t, reduction_factor=ETA
            )
    return optuna.pruners.NopPruner()


def _suggest(trial: optuna.Trial, parameter: Parameter) -> Any:
    name = parameter.optuna_name
    match parameter.distribution():
        case CategoricalDistribution(choices=choices):
            return trial.suggest_categorical(name, choices)
        case IntDistribution(low=low, high=high, step=step, log=log):
            return trial.suggest_int(name, low, high, step=step, log=log)
        case FloatDistribution(low=low, high=high, step=step, log=log):
            return trial.suggest_float(name, low, high, step=step, log=log)
    raise TypeError(f"{parameter.distribution()} is no distribution that Optuna samples")


@dataclass(frozen=True)
class _Trial:
    """What schedulers of Ray and Syne Tune read of a trial."""

    trial_id: str
    config: Mapping[str, Any]


class RayPeer:
    """Ray's own ASHAScheduler object, which stops; configurations at random or by its OptunaSearch.

    The random ones are those that our random searcher proposes.
    """

    def __init__(self, problem: Problem, seed: int, *, model: bool = False) -> None:
        from ray.tune.schedulers import ASHAScheduler

        np.random.seed(seed)
        self._scheduler = ASHAScheduler(
            time_attr="step",
            metric="loss",
            mode="min",
            max_t=problem.max_t,
            grace_period=1,
            reduction_factor=ETA,
        )
        self._space = problem.space
        self._search = _ray_optuna(problem, seed) if model else None
        view = View(Objective())
        self._random = make_searcher("random", space=problem.space, view=view, seed=seed)
        self._trials: list[_Trial] = []

    def start(self) -> tuple[int, Values]:
        """Add a trial."""
        number = len(self._trials)
        if self._search is None:
            drawn = self._random.ask(number)
        else:
            drawn = self._search.suggest(str(number))
        trial = _Trial(str(number), drawn)
        self._trials.append(trial)
        self._scheduler.on_trial_add(None, trial)
        return number, self._space.values(drawn)

    def report(self, number: int, step: int, loss: float, *, last: bool) -> bool:
        """As Tune's controller does: the scheduler first, then the searcher."""
        trial, result = self._trials[number], {"step": step, "loss": loss}
        goes_on = self._scheduler.on_trial_result(None, trial, result) == "CONTINUE"
        if self._search is not None:
            tell = self._search.on_trial_result if goes_on else self._search.on_trial_complete
            tell(trial.trial_id, result={**result, "training_iteration": step})
        return goes_on


def _ray_optuna(problem: Problem, seed: int) -> Any:
    from ray.tune.search.optuna import OptunaSearch

    optuna.logging.set_verbosity(optuna.logging.ERROR)

    def define(trial: optuna.Trial) -> None:
        problem.space.draw(lambda parameter: _suggest(trial, parameter))

    return OptunaSearch(define, metric="loss", mode="min", sampler=TPESampler(seed=seed))


class SynePeer:
    """A scheduler of Syne Tune, which stops; it knows no conditions, so it draws all parameters."""

    def __init__(self, problem: Problem, seed: int, *, scheduler: str) -> None:
        baselines = _syne_tune()
        random.seed(seed)
        np.random.seed(seed)
        self._scheduler = getattr(baselines, scheduler)(
            config_space={p.name: _domain(p.distribution()) for p in problem.space.parameters},
            metric="loss",
            time_attr="step",
            max_t=problem.max_t,
            grace_period=1,
            reduction_factor=ETA,
            random_seed=seed,
        )
        self._trials: list[_Trial] = []

    def start(self) -> tuple[int, Values]:
        """Take a suggestion."""
        suggestion = self._scheduler.suggest()
        trial = _Trial(str(len(self._trials)), suggestion.config)
        self._trials.append(trial)
        self._scheduler.on_trial_add(trial)
        return len(self._trials) - 1, suggestion.config

    def report(self, number: int, step: int, loss: float, *, last: bool) -> bool:
        """As its tuner does."""
        trial, result = self._trials[number], {"step": step, "loss": loss}
        goes_on = self._scheduler.on_trial_result(trial, result) == "CONTINUE"
        if not goes_on:
            self._scheduler.on_trial_remove(trial)
        return goes_on


def _syne_tune() -> Any:
    logging.getLogger("syne_tune").setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from syne_tune.optimizer import baselines
    except ImportError as error:
        raise Missing(f"syne-tune is not installed (extra: bench): {error}") from None
    return baselines


def _domain(distribution: BaseDistribution) -> Any:
    from syne_tune import config_space

    match distribution:
        case CategoricalDistribution(choices=choices):
            return config_space.choice(list(choices))
        case IntDistribution(low=low, high=high, log=log):
            return (config_space.lograndint if log else config_space.randint)(low, high)
        case FloatDistribution(low=low, high=high, log=log):
            return (config_space.loguniform if log else config_space.uniform)(low, high)
    raise TypeError(f"{distribution} is no distribution that Syne Tune samples")
