"""The incumbent: how the best value came about, over time and over what was spent."""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go

from sweeps.render import number
from sweeps.report.drawing import Drawing
from sweeps.report.history import Moment, changes, history
from sweeps.report.style import BLUE, GREY, plain, styled
from sweeps.report.thinning import evenly
from sweeps.results import SweepResults

_MOST_POINTS = 1000
_UNITS = ((2 * 86400.0, 86400.0, "d"), (2 * 3600.0, 3600.0, "h"), (120.0, 60.0, "min"))


def incumbent_over_time(sweep: SweepResults) -> Drawing:
    """The best value so far against the time since the sweep began."""
    moments = history(sweep)
    seconds = moments[-1].seconds if moments else 0.0
    _, unit, name = next((u for u in _UNITS if seconds >= u[0]), (0.0, 1.0, "s"))
    resumed = " It was resumed: the time between its drivers is part of it."
    return _drawing(
        sweep,
        moments,
        [moment.seconds / unit for moment in moments],
        title="Best value over time",
        axis=f"time since the sweep began ({name})",
        said=resumed if sweep.trials.run > 1 else "",
    )


def incumbent_over_steps(sweep: SweepResults) -> Drawing:
    """The best value so far against the steps that all trials together had spent."""
    moments = history(sweep)
    if moments and not sweep.trials.steps:
        return Drawing(
            title="Best value over spent steps",
            about=_ABOUT,
            words="The trials reported no steps: each returned its value at its end.",
        )
    return _drawing(
        sweep,
        moments,
        [moment.steps for moment in moments],
        title="Best value over spent steps",
        axis="steps spent by all trials",
    )


_ABOUT = "The line is the best value so far; each point is a value that came in."


def _drawing(
    sweep: SweepResults,
    moments: Sequence[Moment],
    xs: Sequence[float],
    *,
    title: str,
    axis: str,
    said: str = "",
) -> Drawing:
    if not moments:
        return Drawing(title=title, about=_ABOUT, words="No trial has a value yet.")
    metric, mode = sweep.objective.metric, sweep.objective.mode
    shown = evenly(len(moments), _MOST_POINTS)
    at = {id(moment): x for moment, x in zip(moments, xs, strict=True)}
    steps = [*changes(moments), moments[-1]]
    figure = go.Figure()
    figure.add_scatter(
        x=[xs[i] for i in shown],
        y=[moments[i].value for i in shown],
        mode="markers",
        name="values",
        marker={"color": GREY, "size": 5, "opacity": 0.45},
        text=[f"trial {moments[i].trial}" for i in shown],
        hovertemplate="%{text}: %{y:.5g}<extra></extra>",
    )
    figure.add_scatter(
        x=[at[id(moment)] for moment in steps],
        y=[moment.best for moment in steps],
        mode="lines+markers",
        name="best so far",
        line={"shape": "hv", "color": BLUE, "width": 2.5},
        marker={"size": 6},
        text=[f"trial {moment.leader}" for moment in steps],
        hovertemplate="best %{y:.5g}, %{text}<extra></extra>",
    )
    best = number(moments[-1].best)
    styled(
        figure,
        xaxis={"title": {"text": axis}, "rangemode": "tozero"},
        yaxis={"title": {"text": f"{plain(metric)} ({mode})"}},
    )
    thinned = (
        f"{len(shown)} of {len(moments)} values are shown, evenly over time; the line has all. "
        if len(shown) < len(moments)
        else ""
    )
    words = f"{thinned}It ends at {best}, from trial {moments[-1].leader}.{said}"
    return Drawing(title=title, about=_ABOUT, figure=figure, words=words)
