"""Which parameters mattered, by two measures, and how sure that is."""

from __future__ import annotations

import math
import random
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import plotly.graph_objects as go
from optuna.importance import (
    BaseImportanceEvaluator,
    FanovaImportanceEvaluator,
    PedAnovaImportanceEvaluator,
    get_param_importances,
)
from optuna.trial import FrozenTrial

from sweeps.journal.status import Status
from sweeps.journal.trials import Trial
from sweeps.reports.drawing import Drawing
from sweeps.reports.memo import once
from sweeps.reports.quiet import quiet
from sweeps.reports.studies import (
    Axis,
    Readable,
    of_first_objective,
    readable,
    transformed,
    with_value,
)
from sweeps.reports.style import AMBER, BLUE, GREY, plain, styled
from sweeps.results import SweepResults

_TITLE = "Parameter importance"
_ABOUT = (
    "The share of the objective's variation that each parameter explains (fANOVA), and how much it "
    "decides whether a trial is among the best (PED-ANOVA); the whiskers show one standard error."
)
_FEWEST = 10
"""Trials: fewer tell nothing about a parameter."""

_MOST_TREES_TRIALS = 100
"""fANOVA's time grows with the square of the trials: it sees samples of so many."""

_TREES = 8
_REPEATS = 12
_SECONDS = 0.8
"""Of each measure; three repeats in any case."""

_MOST_BARS = 15

_NEARLY_ALL = 0.95
"""Of the trials: one in twenty may have ended before the step at which all are compared."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A measure of every parameter: its mean and its standard error, by name."""

    mean: Mapping[str, float]
    error: Mapping[str, float]
    repeats: int


def importance(sweep: SweepResults) -> Drawing:
    """The importance of every parameter by fANOVA and PED-ANOVA, with its uncertainty.

    fANOVA (Hutter et al. 2014) and PED-ANOVA (Watanabe et al. 2023) are estimated anew on trials
    drawn with replacement (bootstrap); of fANOVA's fewer trials the spread is scaled to all of
    them (m out of n; Bickel et al. 1997). All trials are compared at one step: a value at another
    would stand for the training, not the parameters. It is the last that nearly all reached.
    """
    whole, step = _comparable(sweep)
    axes = whole.varied
    if len(whole.trials) < _FEWEST or not axes:
        return Drawing(title=_TITLE, about=_ABOUT, words=_too_few(whole, step))
    if len({trial.value for trial in whole.trials}) == 1:
        words = "Every trial has the same value, so no parameter made a difference."
        return Drawing(title=_TITLE, about=_ABOUT, words=words)
    everywhere = [axis for axis in axes if len(whole.column(axis)) == len(whole.trials)]
    trees = replace(whole, trials=[transformed(trial, everywhere) for trial in whole.trials])
    fanova = _estimate(trees, everywhere, _fanova, most=_MOST_TREES_TRIALS) if everywhere else None
    ped = _estimate(whole, axes, _ped_anova)
    ranked = sorted(axes, key=lambda axis: -ped.mean[axis.name])
    shown = ranked[:_MOST_BARS]
    figure = go.Figure()
    _add_bars(figure, "PED-ANOVA", AMBER, shown, ped)
    if fanova is not None:
        _add_bars(figure, "fANOVA", BLUE, shown, fanova)
    styled(
        figure,
        height=120 + 46 * len(shown),
        barmode="group",
        bargap=0.3,
        xaxis={
            "title": {"text": "share of the importance"},
            "rangemode": "tozero",
            "tickformat": ".0%",
        },
        yaxis={"title": None, "ticks": ""},
        legend={"traceorder": "reversed"},
    )
    words = _compared(sweep, whole, step) + _measured(whole, fanova, ped, ranked, everywhere)
    if sweep.objective.others:
        words += f" For {sweep.objective.metric}, the first objective."
    return Drawing(title=_TITLE, about=_ABOUT, figure=figure, words=words)


@once
def ranking(sweep: SweepResults) -> list[Axis]:
    """The parameters that were varied, the most important first; by PED-ANOVA where it can tell."""
    whole, _ = _comparable(sweep)
    everything = of_first_objective(readable(sweep)).varied
    known = {axis.name for axis in whole.varied}
    if len(whole.trials) < _FEWEST:
        return everything
    names = [axis.name for axis in everything if axis.name in known]
    found = _measure(_ped_anova(len(whole.trials), 0), whole.trials, whole, names)
    return sorted(everything, key=lambda axis: -found.get(axis.name, -1.0))


@once
def _comparable(sweep: SweepResults) -> tuple[Readable, int | None]:
    """The trials with their best value up to one step, and that step, if they reported.

    Those that an early-stopping scheduler let go on were chosen by their values: among them alone,
    what was wrong with the others hardly varies, and would seem not to matter.
    """
    whole = of_first_objective(readable(sweep))
    step = _step_of_nearly_all(sweep, _own(sweep, whole))
    if step is None:
        return whole, None
    trials = []
    for trial in whole.trials:
        own = sweep.trials[trial.number]
        upto = [r.value for s, r in own.reports.items() if s <= step and r.value is not None]
        value = sweep.objective.best(upto)
        if value is not None and own.step >= step:
            trials.append(with_value(trial, value))
    return replace(whole, trials=trials), step


def _step_of_nearly_all(sweep: SweepResults, trials: Sequence[Trial]) -> int | None:
    """The last step that nearly all reached; None where they do not report.

    Trials that run were not held back by their values: they are asked only where no other is.
    """
    asked = [t for t in trials if sweep.status(t) is not Status.RUNNING] or trials
    reached = sorted((t.step if t.reports else -1 for t in asked), reverse=True)
    step = reached[math.ceil(_NEARLY_ALL * len(reached)) - 1] if reached else -1
    return None if step < 0 else step


def _own(sweep: SweepResults, whole: Readable) -> list[Trial]:
    return [sweep.trials[trial.number] for trial in whole.trials]


def _fanova(count: int, seed: int) -> BaseImportanceEvaluator:
    return FanovaImportanceEvaluator(n_trees=_TREES, seed=seed)


def _ped_anova(count: int, seed: int) -> BaseImportanceEvaluator:
    return PedAnovaImportanceEvaluator(target_quantile=min(0.5, max(0.1, 5 / count)))


_Make = Callable[[int, int], BaseImportanceEvaluator]
"""(how many trials, seed) -> the measure."""


def _estimate(
    whole: Readable, axes: Sequence[Axis], make: _Make, *, most: int | None = None
) -> Estimate:
    """A measure on trials drawn anew for each repeat, as many as the time allows."""
    names = [axis.name for axis in axes]
    trials = whole.trials
    count = min(len(trials), most or len(trials))
    found: list[dict[str, float]] = []
    deadline = time.monotonic() + _SECONDS
    while len(found) < _REPEATS and (len(found) < 3 or time.monotonic() < deadline):
        drawn = random.Random(len(found)).choices(trials, k=count)
        found.append(_measure(make(count, len(found)), drawn, whole, names))
    scale = math.sqrt(count / len(trials))
    columns = {name: [each.get(name, 0.0) for each in found] for name in names}
    return Estimate(
        mean={name: statistics.fmean(column) for name, column in columns.items()},
        error={name: statistics.stdev(column) * scale for name, column in columns.items()},
        repeats=len(found),
    )


def _measure(
    evaluator: BaseImportanceEvaluator,
    trials: Sequence[FrozenTrial],
    whole: Readable,
    names: Sequence[str],
) -> dict[str, float]:
    there = {name for trial in trials for name in trial.params}
    try:
        with quiet():
            found = get_param_importances(
                whole.study(trials),
                evaluator=evaluator,
                params=[name for name in names if name in there],
            )
    except RuntimeError:  # fANOVA's, where no tree saw two different values
        return dict.fromkeys(names, 0.0)
    return {name: float(value) for name, value in found.items()}


def _add_bars(
    figure: go.Figure, name: str, colour: str, axes: Sequence[Axis], of: Estimate
) -> None:
    shown = [axis for axis in reversed(axes) if axis.name in of.mean]
    figure.add_bar(
        orientation="h",
        name=name,
        y=[plain(axis.full) for axis in shown],
        x=[of.mean[axis.name] for axis in shown],
        error_x={
            "array": [of.error[axis.name] for axis in shown],
            "arrayminus": [min(of.error[axis.name], of.mean[axis.name]) for axis in shown],
            "color": GREY,
            "thickness": 1.5,
            "width": 4,
        },
        marker={"color": colour},
        hovertemplate=f"%{{y}}, {name}: %{{x:.1%}} ± %{{error_x.array:.1%}}<extra></extra>",
    )


def _too_few(whole: Readable, step: int | None) -> str:
    if len(whole.trials) >= _FEWEST:
        return "Every parameter has one value in all trials, so none can matter."
    at = "" if step is None else f" at step {step}"
    count = len(whole.trials)
    have = "No trial has" if not count else "1 trial has" if count == 1 else f"{count} trials have"
    return f"{have} a value{at}; to tell what matters takes at least {_FEWEST}."


def _compared(sweep: SweepResults, whole: Readable, step: int | None) -> str:
    """Which trials at which step, and which are none of them."""
    own = _own(sweep, of_first_objective(readable(sweep)))
    count, of = len(whole.trials), len(own)
    said = [f"From all {of}" if count == of else f"From {count} of {of}", " trials with a value"]
    if step is not None:
        said.append(f", each by its best up to step {step}, which nearly all reached")
    said.append(". ")
    if step is not None and any(trial.step > step for trial in own):
        said.append(
            "Later steps are not compared: under early stopping only trials that did well reach "
            "them, and what made the others bad would seem not to matter. "
        )
    if bad := sum(sweep.status(t) in (Status.FAILED, Status.DIVERGED) for t in sweep.trials):
        said.append(f"Not among them: {bad} that failed or diverged. ")
    return "".join(said)


def _measured(
    whole: Readable,
    fanova: Estimate | None,
    ped: Estimate,
    ranked: Sequence[Axis],
    everywhere: Sequence[Axis],
) -> str:
    """How often each was estimated, and what is not shown."""
    said = [f"PED-ANOVA over {ped.repeats} bootstrap samples"]
    if fanova is not None:
        size = min(len(whole.trials), _MOST_TREES_TRIALS)
        said.append(f", fANOVA over {fanova.repeats} of {size} trials with {_TREES} trees each")
    said.append(".")
    if conditional := [axis.full for axis in ranked if axis not in everywhere]:
        said.append(f" fANOVA leaves out what only some trials have: {', '.join(conditional)}.")
    if rest := ranked[_MOST_BARS:]:
        said.append(f" The {len(rest)} least important of {len(ranked)} are not shown.")
    return "".join(said)
