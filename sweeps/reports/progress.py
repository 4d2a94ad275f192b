"""The incumbent: how the best value came about, over time and over what was spent."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from sweeps.render import number
from sweeps.reports.clipping import clipped
from sweeps.reports.drawing import Drawing
from sweeps.reports.history import History, history
from sweeps.reports.style import BLUE, GREY, styled
from sweeps.reports.thinning import evenly
from sweeps.results import SweepResults

_MOST_POINTS = 1000
_UNITS = ((2 * 86400.0, 86400.0, "days"), (2 * 3600.0, 3600.0, "hours"), (120.0, 60.0, "minutes"))


def incumbent_over_time(sweep: SweepResults) -> Drawing:
    """The best value so far against the time since the sweep began."""
    past = history(sweep)
    unit, name = time_unit(past.seconds[-1] if len(past) else 0.0)
    resumed = " The sweep was resumed: the time between its drivers is part of the axis."
    return _drawing(
        sweep,
        past,
        [seconds / unit for seconds in past.seconds],
        title="Best value over time",
        axis=f"time since the sweep began ({name})",
        said=resumed if sweep.trials.run > 1 else "",
    )


def incumbent_over_steps(sweep: SweepResults) -> Drawing:
    """The best value so far against the steps that all trials together had spent."""
    title, past = "Best value over spent steps", history(sweep)
    if len(past) and not sweep.trials.steps:
        words = "The trials reported no steps: each returned its value at its end."
        return Drawing(title=title, about="", words=words)
    return _drawing(sweep, past, past.steps, title=title, axis="steps spent by all trials")


def time_unit(seconds: float) -> tuple[float, str]:
    """The unit in which a time is best shown: how many seconds it has, and its name."""
    return next(
        ((unit, name) for from_, unit, name in _UNITS if seconds >= from_), (1.0, "seconds")
    )


def _drawing(
    sweep: SweepResults,
    past: History,
    xs: Sequence[float],
    *,
    title: str,
    axis: str,
    said: str = "",
) -> Drawing:
    if not len(past):
        return Drawing(title=title, about="", words="No trial has a value yet.")
    shown, changes = evenly(len(past), _MOST_POINTS), past.changes()
    axis_of_values, beyond = clipped(sweep.objective, past.values)
    figure = go.Figure()
    figure.add_scatter(
        x=np.array([xs[i] for i in shown], dtype=float),
        y=np.array([past.values[i] for i in shown]),
        customdata=np.array([past.trials[i] for i in shown]),
        mode="markers",
        name="values",
        marker={"color": GREY, "size": 5, "opacity": 0.45},
        hovertemplate="trial %{customdata}: %{y:.5g}<extra></extra>",
    )
    figure.add_scatter(
        x=[xs[i] for i in changes],
        y=[past.best[i] for i in changes],
        text=[f"trial {past.leaders[i]}" for i in changes],
        mode="lines+markers",
        name="best so far",
        line={"shape": "hv", "color": BLUE, "width": 2.5},
        marker={"size": 6},
        hovertemplate="best %{y:.5g}, %{text}<extra></extra>",
    )
    styled(
        figure,
        height=380,
        xaxis={"title": {"text": axis}, "rangemode": "tozero"},
        yaxis=axis_of_values,
    )
    words = f"It ends at {number(past.best[-1])}, of trial {past.leaders[-1]}.{said}"
    if sweep.objective.others:
        words += " It is of the first objective alone."
    if len(shown) < len(past):
        words += f" {len(shown)} of {len(past)} values are shown, evenly; the line has all."
    words = f"{words} {beyond}".strip()
    return Drawing(title=title, about="", figure=figure, words=words, span="half")
