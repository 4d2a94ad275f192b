"""A sweep as a study for Optuna's plots: every trial with a value counts, names are short."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from sweeps.journal.status import Status
from sweeps.render import parameter, short_names
from sweeps.reports.memo import once
from sweeps.reports.quiet import quiet
from sweeps.reports.style import plain
from sweeps.results import SweepResults
from sweeps.results.study import frozen_trials
from sweeps.secrets import is_secret
from sweeps.space.domains import Float

_DIRECTIONS = {"min": StudyDirection.MINIMIZE, "max": StudyDirection.MAXIMIZE}


@dataclass(frozen=True, kw_only=True)
class Axis:
    """A parameter as the plots call it."""

    name: str
    """In the study: short, and plain for plotly."""
    full: str
    """As the user typed it."""
    one_minus: bool
    """The study holds 1 - x, on a log scale."""
    log: bool
    distribution: BaseDistribution
    """In the study."""

    @property
    def label(self) -> str:
        """What its axis is called where its ticks say x."""
        return self.name.removeprefix("1 - ") if self.one_minus else self.name

    @property
    def is_choice(self) -> bool:
        """Whether it is one of several values."""
        return isinstance(self.distribution, CategoricalDistribution)

    @property
    def is_numeric_choice(self) -> bool:
        """Whether it is one of several numbers."""
        of = self.distribution
        return isinstance(of, CategoricalDistribution) and all(map(_is_number, of.choices))


def _is_number(choice: Any) -> bool:
    return type(choice) in (int, float)


@dataclass(frozen=True, kw_only=True)
class Readable:
    """A sweep's trials that have a value, as complete ones."""

    axes: Sequence[Axis]
    """In the space's order."""
    trials: Sequence[FrozenTrial]
    """Trials that failed or diverged are none of them; those that were stopped are."""
    directions: Sequence[StudyDirection]

    @property
    def varied(self) -> list[Axis]:
        """The parameters that have more than one value among the trials."""
        return [axis for axis in self.axes if len(set(self.column(axis))) > 1]

    def column(self, axis: Axis) -> list[Any]:
        """A parameter's values, of the trials that have it."""
        return [trial.params[axis.name] for trial in self.trials if axis.name in trial.params]

    def study(self, trials: Iterable[FrozenTrial] | None = None) -> optuna.Study:
        """All of it, or some trials, as a study."""
        return StudyOf(self.trials if trials is None else trials, self.directions)


class StudyOf(optuna.Study):
    """A study of given trials: they keep their numbers, and are not copied into a storage."""

    def __init__(self, trials: Iterable[FrozenTrial], directions: Sequence[StudyDirection]) -> None:
        storage = optuna.storages.InMemoryStorage()
        with quiet():
            storage.create_new_study(directions, study_name="report")
            super().__init__(study_name="report", storage=storage)
        self._shown = [_with_id(i, trial) for i, trial in enumerate(trials)]

    def get_trials(
        self, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        """The trials, never copied."""
        return [t for t in self._shown if states is None or t.state in states]


def _with_id(number: int, trial: FrozenTrial) -> FrozenTrial:
    """A copy that a study tells from its others, also where a trial was drawn twice."""
    twin = copy.copy(trial)
    twin._trial_id = number
    return twin


@once
def readable(sweep: SweepResults) -> Readable:
    """The sweep's trials for the plots of its space and of its objective."""
    frozen = list(frozen_trials(sweep, reports=False))
    bad = (Status.FAILED, Status.DIVERGED)
    counted = [t for t in frozen if t.values and sweep.status(sweep.trials[t.number]) not in bad]
    distributions: dict[str, BaseDistribution] = {}
    for trial in frozen:
        distributions.update(trial.distributions)
    axes = _axes(sweep, distributions)
    texts = {name: _texts(d) for name, d in distributions.items()}
    return Readable(
        axes=list(axes.values()),
        trials=[_shown(trial, axes, texts) for trial in counted],
        directions=[_DIRECTIONS[objective.mode] for objective in sweep.objective.all],
    )


def of_first_objective(whole: Readable) -> Readable:
    """The same with the objective alone by which the schedulers compare."""
    return of_objective(whole, 0)


def of_objective(whole: Readable, index: int) -> Readable:
    """The same with one objective alone."""
    if len(whole.directions) == 1:
        return whole
    trials = [with_value(trial, trial.values[index]) for trial in whole.trials]
    return replace(whole, trials=trials, directions=[whole.directions[index]])


def beside_the_first(whole: Readable, metrics: Sequence[str]) -> Readable:
    """The same with the first objective as the value, and the others as if they were parameters."""
    axes, trials = list(whole.axes), list(whole.trials)
    taken = {axis.name for axis in axes}
    for i, metric in enumerate(metrics[1:], start=1):
        name = plain(metric if metric not in taken else f"{metric} (objective)")
        ends = [trial.values[i] for trial in trials] or [0.0]
        of = FloatDistribution(min(ends), max(ends))
        axes.append(Axis(name=name, full=metric, one_minus=False, log=False, distribution=of))
        trials = [
            _complete(t, {**t.params, name: t.values[i]}, {**t.distributions, name: of})
            for t in trials
        ]
    return of_first_objective(replace(whole, axes=axes, trials=trials))


def with_value(trial: FrozenTrial, value: float) -> FrozenTrial:
    """The trial with another value."""
    return _complete(trial, trial.params, trial.distributions, values=[value])


def snapped(trial: FrozenTrial, axes: Sequence[Axis], cells: int = 20) -> FrozenTrial:
    """A trial whose numbers lie on a grid of so many cells an axis, even on the axis's scale."""
    params = {axis.name: _snap(axis, trial.params[axis.name], cells) for axis in axes}
    return _complete(trial, params, {axis.name: axis.distribution for axis in axes})


def _snap(axis: Axis, value: Any, cells: int) -> Any:
    of = axis.distribution
    if not isinstance(of, FloatDistribution | IntDistribution) or of.low == of.high:
        return value
    if isinstance(of, IntDistribution) and of.high - of.low <= cells:
        return value
    low, high, at = (math.log(v) if of.log else v for v in (of.low, of.high, value))
    cell = round((at - low) / (high - low) * cells) / cells
    middle = low + cell * (high - low)
    found = min(max(math.exp(middle) if of.log else middle, of.low), of.high)
    return round(found) if isinstance(of, IntDistribution) else found


def transformed(trial: FrozenTrial, axes: Sequence[Axis]) -> FrozenTrial:
    """A trial for fANOVA, which integrates over the axes as they are.

    What is searched on a log scale is its logarithm; a choice is its place among the choices, since
    one column for each would take minutes where they are many.
    """
    params: dict[str, Any] = {}
    distributions: dict[str, BaseDistribution] = {}
    for axis in axes:
        if axis.name not in trial.params:
            continue
        value, of = trial.params[axis.name], trial.distributions[axis.name]
        if isinstance(of, FloatDistribution | IntDistribution) and of.log:
            value, of = math.log(value), FloatDistribution(math.log(of.low), math.log(of.high))
        elif isinstance(of, CategoricalDistribution):
            value, of = of.choices.index(value) + 0.5, FloatDistribution(0, len(of.choices))
        params[axis.name], distributions[axis.name] = value, of
    return _complete(trial, params, distributions)


def _axes(sweep: SweepResults, distributions: Mapping[str, BaseDistribution]) -> dict[str, Axis]:
    """By Optuna's name."""
    short = short_names(sweep.parameters)
    axes = {}
    for full, domains in sweep.parameters.items():
        scales = {domain.scale for domain in domains if isinstance(domain, Float)}
        one_minus = f"1 - {full}" in distributions and "one_minus_log" in scales
        name = f"1 - {full}" if one_minus else full
        if name in distributions and not is_secret(full):
            distribution = distributions[name]
            axes[name] = Axis(
                name=plain(f"1 - {short[full]}" if one_minus else short[full]),
                full=full,
                one_minus=one_minus,
                log=bool(getattr(distribution, "log", False)),
                distribution=_labelled(distribution, _texts(distribution)),
            )
    return axes


_Texts = Callable[[Any], Any]


def _texts(distribution: BaseDistribution) -> _Texts:
    """How its values are shown: numbers as they are, others as short and distinct texts."""
    if not isinstance(distribution, CategoricalDistribution):
        return lambda value: value
    choices = distribution.choices
    if all(map(_is_number, choices)):
        return lambda value: value
    texts = [plain(parameter(choice)) for choice in choices]
    if len(set(texts)) < len(texts):
        texts = [f"{i}: {text}" for i, text in enumerate(texts)]
    return lambda value: texts[choices.index(value)]


def _labelled(distribution: BaseDistribution, text: _Texts) -> BaseDistribution:
    if isinstance(distribution, CategoricalDistribution):
        return CategoricalDistribution([text(choice) for choice in distribution.choices])
    return distribution


def _shown(
    trial: FrozenTrial, axes: Mapping[str, Axis], texts: Mapping[str, _Texts]
) -> FrozenTrial:
    there = [name for name in trial.params if name in axes]
    params = {axes[name].name: texts[name](trial.params[name]) for name in there}
    distributions = {axes[name].name: axes[name].distribution for name in there}
    return _complete(trial, params, distributions)


def _complete(
    trial: FrozenTrial,
    params: Mapping[str, Any],
    distributions: Mapping[str, BaseDistribution],
    *,
    values: Sequence[float] | None = None,
) -> FrozenTrial:
    made = create_trial(
        state=TrialState.COMPLETE,
        values=trial.values if values is None else values,
        params=dict(params),
        distributions=dict(distributions),
    )
    made.number = trial.number
    return made
