"""Parallel coordinates: every trial as a line through its value and its parameters."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go
from optuna.distributions import IntDistribution
from optuna.trial import FrozenTrial
from optuna.visualization import plot_parallel_coordinate

from sweeps.render import number
from sweeps.reports.drawing import Drawing
from sweeps.reports.quiet import quiet
from sweeps.reports.spaces import left_out, own, too_little
from sweeps.reports.studies import Axis, Readable, beside_the_first, readable
from sweeps.reports.style import BEST, plain, ramp, styled
from sweeps.reports.thinning import evenly, sample
from sweeps.results import SweepResults

_TITLE = "Parallel coordinates"
_ABOUT = (
    "One line a trial, through its value and its parameters; the better, the stronger its colour, "
    "and the best is orange. Point at a line to see it alone."
)
_MOST_LINES = 100
_MOST_TICKS = 10
_AXIS_WIDTH = 84
"""Of each parameter, in pixels, at least: on a narrow screen the plot is scrolled."""


def parallel_coordinates(sweep: SweepResults) -> Drawing:
    """Every trial's parameters beside its value."""
    whole = beside_the_first(readable(sweep), [o.metric for o in sweep.objective.all])
    if reason := too_little(sweep, whole):
        return Drawing(title=_TITLE, about=_ABOUT, words=reason)
    kept = {trial.number for trial in sample(sweep, own(sweep, whole.trials), _MOST_LINES)}
    trials = _ordered(whole, [trial for trial in whole.trials if trial.number in kept])
    with quiet():
        figure = plot_parallel_coordinate(
            whole.study(trials),
            params=[axis.name for axis in whole.varied],
            target_name=plain(sweep.objective.metric),
        )
    lines = [trace for trace in figure.data if trace.mode == "lines"]
    _turn_round(figure, lines, whole.varied)
    _colour(sweep, figure, lines, trials)
    _tidy_ticks(figure, whole.varied)
    figure.update_shapes(line={"color": "rgba(127,135,144,0.6)", "width": 1})
    axes = 1 + len(whole.varied)
    styled(
        figure,
        height=460,
        plot_bgcolor=None,
        hovermode="closest",
        xaxis={"ticks": "", "tickangle": 0},
        margin={"l": 60, "t": 12},
        meta={"minwidth": axes * _AXIS_WIDTH, "lines": True},
    )
    words = " ".join([*left_out(len(trials), len(whole.trials), "lines"), *_constants(whole)])
    return Drawing(title=_TITLE, about=_ABOUT, figure=figure, words=words)


def _ordered(whole: Readable, trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """By their choices that are numbers, then by number: Optuna draws them in this order."""
    names = sorted(axis.name for axis in whole.varied if axis.is_numeric_choice)
    return sorted(
        trials,
        key=lambda t: ([(n in t.params, t.params.get(n, 0)) for n in names], t.number),
    )


def _turn_round(figure: go.Figure, lines: Sequence[Any], axes: Sequence[Axis]) -> None:
    """Axes of 1 - x say x instead, which grows upwards."""
    one_minus = {axis.name: axis for axis in axes if axis.one_minus}
    labels = list(figure.layout.xaxis.ticktext)
    for place, label in enumerate(labels):
        if (axis := one_minus.get(label)) is None:
            continue
        labels[place] = axis.label
        for line in lines:
            y, said = list(line.y), [list(pair) for pair in line.customdata]
            y[place], said[place] = 1 - y[place], [axis.label, _rest(said[place][1])]
            line.update(y=y, customdata=said)
        for tick in figure.layout.annotations:
            if tick.x == place:
                tick.update(y=1 - tick.y, text=_rest(tick.text))
    figure.update_xaxes(ticktext=labels)


def _rest(text: str) -> str:
    """1 - x of a tick; of a tick that is no number, itself."""
    try:
        return f"{1 - float(text):.6g}"
    except ValueError:
        return text


def _colour(
    sweep: SweepResults, figure: go.Figure, lines: Sequence[Any], trials: Sequence[FrozenTrial]
) -> None:
    """The lines by how good they are in the first objective, the best on top."""
    lower = sweep.objective.mode == "min"
    goodness = _ranks([-line.y[0] if lower else line.y[0] for line in lines])
    best = None if sweep.best is None else sweep.best.number
    for line, trial, share in zip(lines, trials, goodness, strict=True):
        line.update(
            line={"color": ramp(share), "width": 1.3},
            opacity=0.2 + 0.7 * share,
            hovertemplate=f"trial {trial.number}, {number(trial.values[0])}<br>"
            "%{customdata[0]}: %{customdata[1]}<extra></extra>",
        )
        if trial.number == best:
            line.update(line={"color": BEST, "width": 3}, opacity=1)
    order = sorted(range(len(lines)), key=lambda i: (trials[i].number == best, goodness[i]))
    figure.data = [lines[i] for i in order]


def _ranks(values: Sequence[float]) -> list[float]:
    """From 0, the least, to 1: outliers would leave all others one colour."""
    order = sorted(values)
    return [(bisect_left(order, value) / max(1, len(order) - 1)) ** 2 for value in values]


def _tidy_ticks(figure: go.Figure, axes: Sequence[Axis]) -> None:
    """At most so many ticks an axis, whole where its values are, in the page's own look."""
    whole = {axis.label for axis in axes if isinstance(axis.distribution, IntDistribution)}
    labels = figure.layout.xaxis.ticktext
    by_axis: dict[float, list[Any]] = {}
    for tick in figure.layout.annotations:
        if labels[int(tick.x)] not in whole or "." not in tick.text:
            by_axis.setdefault(tick.x, []).append(tick)
    kept = []
    for ticks in by_axis.values():
        kept += [ticks[i] for i in evenly(len(ticks), _MOST_TICKS)]
    for tick in kept:
        tick.font = {"size": 11}
        if tick.text in ("None", "None (value)"):  # Optuna's word for a parameter that is not there
            tick.text = "absent" if tick.text == "None" else "None"
    figure.layout.annotations = kept


def _constants(whole: Readable) -> list[str]:
    varied = {axis.name for axis in whole.varied}
    constant = [axis.full for axis in whole.axes if axis.name not in varied]
    return [f"Left out, with one value in all trials: {', '.join(constant)}."] if constant else []
