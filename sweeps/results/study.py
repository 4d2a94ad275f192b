"""A sweep as an Optuna study in memory, for Optuna's plots and importances.

It differs from what samplers see (`sweeps.searchers.view`) where readers want to know what was:
diverged trials keep their reports, every trial of a sweep whose space was changed is there, and a
trial's parameters are those of its best report.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from sweeps.journal.optuna_words import DIRECTIONS, STATES
from sweeps.journal.status import Status
from sweeps.journal.trials import Trial
from sweeps.results.sweep import SweepResults
from sweeps.space.domains import Choice, Domain, Float, Int, Scale
from sweeps.space.literals import literal
from sweeps.space.space import Parameter


def as_study(sweep: SweepResults) -> optuna.Study:
    """The sweep's trials, finished and unfinished, by number.

    A parameter is called as in the journal, `1 - x` under one_minus_log, and has one distribution
    in all trials, also where the space was changed on the way: then the narrowest that holds them
    all. A paused trial is PRUNED, a diverged one PRUNED with its reports, a failed one FAIL; what a
    trial is in our own words stands in its user attribute `status`. A value is the trial's best
    report's, of PRUNED trials too. With several objectives there are no intermediate values: Optuna
    has none there.
    """
    with _quiet():
        study = optuna.create_study(
            study_name=sweep.record.name,
            directions=[DIRECTIONS[objective.mode] for objective in sweep.objective.all],
        )
    study.add_trials(frozen_trials(sweep))
    return study


def frozen_trials(sweep: SweepResults, *, reports: bool = True) -> Iterator[FrozenTrial]:
    """The trials of that study; without their reports they are many times smaller."""
    parameters = _parameters(sweep)
    for trial in sweep.trials:
        yield _frozen(sweep, trial, parameters, reports=reports and not sweep.objective.others)


def _frozen(
    sweep: SweepResults, trial: Trial, parameters: Mapping[str, Parameter], *, reports: bool
) -> FrozenTrial:
    status = sweep.status(trial)
    state = TrialState.RUNNING if status is Status.RUNNING else STATES[status]
    values = sweep.values(trial)
    there = [parameters[name] for name in values]
    return FrozenTrial(
        number=trial.number,
        trial_id=trial.number,
        state=state,
        value=None,
        values=None if state is TrialState.FAIL else _values(sweep, trial),
        datetime_start=datetime.fromtimestamp(trial.started),
        datetime_complete=_ended(trial) if state.is_finished() else None,
        params={p.optuna_name: p.from_value(values[p.name]) for p in there},
        distributions={p.optuna_name: p.distribution() for p in there},
        user_attrs={"status": status.value, **({"cause": trial.cause} if trial.cause else {})},
        system_attrs={},
        intermediate_values=_reports(trial) if reports else {},
    )


def _values(sweep: SweepResults, trial: Trial) -> Sequence[float] | None:
    """One an objective; None where one is missing or not finite."""
    if sweep.objective.others:
        return trial.values or None
    known = trial.value is not None and math.isfinite(trial.value)
    return [trial.value] if trial.value is not None and known else None


def _reports(trial: Trial) -> dict[int, float]:
    return {s: r.value for s, r in sorted(trial.reports.items()) if r.value is not None}


def _ended(trial: Trial) -> datetime:
    """When it ended; of one that paused, when it last reported."""
    last = trial.last.time if trial.last is not None else trial.started
    return datetime.fromtimestamp(last if trial.ended is None else trial.ended)


# One distribution a parameter


def _parameters(sweep: SweepResults) -> dict[str, Parameter]:
    """By name, each with a domain that holds the values of every trial."""
    spaces = [sweep.space, *reversed(sweep.trials.spaces)]
    keys = {p.name: p.key for space in reversed(spaces) for p in space.parameters}
    return {
        name: Parameter(key=keys[name], domain=_united(domains, _seen(sweep, name)))
        for name, domains in sweep.parameters.items()
    }


def _seen(sweep: SweepResults, name: str) -> Iterator[Any]:
    rows = (sweep.values(trial) for trial in sweep.trials)
    return (row[name] for row in rows if name in row)


def _united(domains: Sequence[Domain], seen: Iterable[Any]) -> Domain:
    """The narrowest domain that holds these; of both choices and numbers, the values there were."""
    if all(domain == domains[0] for domain in domains):
        return domains[0]
    choices = [domain for domain in domains if isinstance(domain, Choice)]
    numbers = [domain for domain in domains if not isinstance(domain, Choice)]
    if not choices:
        return _interval(numbers)
    listed = [value for domain in choices for value in domain.values]
    distinct = {literal(value): value for value in [*listed, *(seen if numbers else ())]}
    return Choice(tuple(distinct.values()))


def _interval(domains: Sequence[Float | Int]) -> Float | Int:
    low, high = min(d.low for d in domains), max(d.high for d in domains)
    scales: set[Scale] = {d.scale for d in domains}
    scale: Scale = scales.pop() if len(scales) == 1 else "uniform"
    if all(isinstance(domain, Int) for domain in domains):
        return Int(low=int(low), high=int(high), scale=scale)
    return Float(low=float(low), high=float(high), scale=scale)


@contextmanager
def _quiet() -> Iterator[None]:
    """Optuna tells of every study that it makes."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(logging.WARNING)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)
