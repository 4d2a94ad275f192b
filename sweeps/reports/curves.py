"""Learning curves: how far every trial was trained, and where it was paused or stopped."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go

from sweeps.journal.events import Reported
from sweeps.journal.status import Decision, Status
from sweeps.journal.trials import Trial
from sweeps.reports.clipping import clipped
from sweeps.reports.drawing import Drawing
from sweeps.reports.rungs import rungs
from sweeps.reports.style import GREY, STATUS_COLOURS, plain, styled
from sweeps.reports.thinning import evenly, sample
from sweeps.results import SweepResults

_TITLE = "Learning curves"
_ABOUT = (
    "One line a trial, by step; upright lines are the rungs at which the scheduler compared, and "
    "the marks show where it paused, promoted or stopped a trial."
)
_MOST_CURVES = 150
_MOST_POINTS = 60
_LOG_FROM = 9
"""Times that the last rung is the first: from there on the steps are shown on a log axis."""


def learning_curves(sweep: SweepResults) -> Drawing:
    """The objective over the steps of every trial."""
    reported = [trial for trial in sweep.trials if _curve(trial)]
    if not reported:
        return Drawing(title=_TITLE, about=_ABOUT, words=_nothing(sweep))
    shown = sample(sweep, reported, _MOST_CURVES)
    marks = rungs(sweep)
    curves = [_Curve(trial=t, points=_thinned(_curve(t), {*marks, *_decided(t)})) for t in shown]
    seen = [p.value for curve in curves for p in curve.points if p.value is not None]
    axis, beyond = clipped(sweep.objective, seen)
    figure = go.Figure()
    for status in Status:
        _add_curves(figure, status, [c for c in curves if sweep.status(c.trial) is status])
    if sweep.best is not None and _curve(sweep.best):
        _add_best(figure, _Curve(trial=sweep.best, points=_curve(sweep.best)))
    _add_marks(figure, sweep, curves)
    for rung in marks:
        figure.add_vline(x=rung, line={"color": GREY, "width": 1, "dash": "dot"}, opacity=0.7)
    styled(
        figure,
        height=520,
        xaxis=_step_axis(sweep, marks, first=min(c.points[0].step for c in curves)),
        yaxis=axis,
    )
    return Drawing(
        title=_TITLE,
        about=_ABOUT,
        figure=figure,
        words=f"{_words(curves, reported, marks)} {beyond}".strip(),
    )


@dataclass(frozen=True, kw_only=True)
class _Curve:
    trial: Trial
    points: Sequence[Reported]


def _curve(trial: Trial) -> list[Reported]:
    """Its reports with a finite value, by step."""
    finite = (r for r in trial.reports.values() if r.value is not None and math.isfinite(r.value))
    return sorted(finite, key=lambda report: report.step)


def _thinned(points: Sequence[Reported], kept: set[int]) -> list[Reported]:
    """At most so many points evenly, and those at the steps that must be seen."""
    places = set(evenly(len(points), _MOST_POINTS))
    return [point for i, point in enumerate(points) if i in places or point.step in kept]


def _decided(trial: Trial) -> Iterator[int]:
    for step, report in trial.reports.items():
        if report.decision is not Decision.CONTINUE:
            yield step


def _add_curves(figure: go.Figure, status: Status, curves: Sequence[_Curve]) -> None:
    """All curves of one status as one trace, a gap between each two: a thousand traces are slow."""
    if not curves:
        return
    rows = [_row(point) for curve in curves for point in (*curve.points, None)]
    steps, values, trials = np.array(rows, dtype=float).T  # many times faster to check than lists
    figure.add_scatter(
        x=steps,
        y=values,
        customdata=trials,
        mode="lines+markers" if all(len(c.points) == 1 for c in curves) else "lines",
        name=f"{status} ({len(curves)})",
        line={"color": STATUS_COLOURS[status], "width": 1.2},
        opacity=0.55,
        hovertemplate=f"trial %{{customdata}} ({status}), step %{{x}}: %{{y:.5g}}<extra></extra>",
    )


def _row(point: Reported | None) -> tuple[float, float | None, float]:
    return (math.nan,) * 3 if point is None else (point.step, point.value, point.trial)


def _add_best(figure: go.Figure, curve: _Curve) -> None:
    figure.add_scatter(
        x=[point.step for point in curve.points],
        y=[point.value for point in curve.points],
        mode="lines" if len(curve.points) > 1 else "markers",
        name=f"best: trial {curve.trial.number}",
        line={"color": STATUS_COLOURS[Status.FAILED], "width": 3},
        hovertemplate=f"trial {curve.trial.number}, step %{{x}}: %{{y:.5g}}<extra></extra>",
    )


def _add_marks(figure: go.Figure, sweep: SweepResults, curves: Iterable[_Curve]) -> None:
    ends: dict[str, list[Reported]] = {"promoted": [], "paused": [], "stopped": []}
    for curve in curves:
        for point in curve.points:
            if (what := _what(sweep, curve.trial, point)) is not None:
                ends[what].append(point)
    looks = {
        "promoted": ("triangle-up", STATUS_COLOURS[Status.COMPLETE]),
        "paused": ("square", STATUS_COLOURS[Status.PAUSED]),
        "stopped": ("x", STATUS_COLOURS[Status.STOPPED]),
    }
    for what, points in ends.items():
        if points:
            symbol, colour = looks[what]
            figure.add_scatter(
                x=[point.step for point in points],
                y=[point.value for point in points],
                text=[f"trial {point.trial}" for point in points],
                mode="markers",
                name=f"{what} here ({len(points)})",
                marker={"symbol": symbol, "size": 7, "color": colour},
                hovertemplate=f"%{{text}} {what} at step %{{x}}: %{{y:.5g}}<extra></extra>",
            )


def _what(sweep: SweepResults, trial: Trial, point: Reported) -> str | None:
    """What became of a trial after a report of it."""
    last = point.step == max(trial.reports)
    if point.decision is Decision.STOP:
        return "stopped"
    if point.decision is not Decision.PAUSE:
        return None
    if not last or sweep.status(trial) is Status.RUNNING:
        return "promoted"
    return "stopped" if sweep.status(trial) is Status.STOPPED else "paused"


def _step_axis(sweep: SweepResults, marks: Sequence[int], *, first: int) -> dict[str, Any]:
    """Rungs that grow by a factor stand evenly on a log axis; a step 0 has no place there."""
    fidelity = sweep.record.options.get("fidelity")
    name = f"rung of {plain(fidelity.get('name'))}" if fidelity else "step"
    if first < 1 or len(marks) < 3 or marks[-1] < _LOG_FROM * marks[0]:
        return {"title": {"text": name}, "rangemode": "tozero"}
    return {"title": {"text": f"{name} (log)"}, "type": "log", "tickvals": list(marks)}


def _nothing(sweep: SweepResults) -> str:
    if not len(sweep.trials):
        return "There is no trial yet."
    if any(trial.reports for trial in sweep.trials):
        return "No report has a finite value, so there is no curve."
    return "No trial reported: each returns its value at its end, so there is no curve."


def _words(curves: Sequence[_Curve], reported: Sequence[Trial], marks: Sequence[int]) -> str:
    said = []
    if len(curves) < len(reported):
        said.append(
            f"{len(curves)} of {len(reported)} curves are shown: the best, and of the rest evenly."
        )
    if any(len(curve.points) < len(_curve(curve.trial)) for curve in curves):
        said.append(f"Of each about {_MOST_POINTS} points are shown, every decision among them.")
    if marks:
        said.append(f"Rungs at {', '.join(map(str, marks))}.")
    return " ".join(said)
