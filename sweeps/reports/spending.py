"""Where the budget went: how far the trials came, and what each rung cost."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence

import plotly.graph_objects as go

from sweeps.reports.drawing import Drawing
from sweeps.reports.rungs import rungs
from sweeps.reports.style import BLUE, GREEN, styled
from sweeps.results import SweepResults

_MOST_BARS = 12


def trials_per_rung(sweep: SweepResults) -> Drawing:
    """How many trials came as far as each rung."""
    title, about = "Trials per rung", "How many trials were trained as far as each rung."
    ends = _ends(sweep)
    if not ends:
        return Drawing(title=title, about=about, words=_nothing(sweep), span="half")
    counts = [sum(trial.step >= end for trial in sweep.trials) for end in ends]
    figure = _bars(ends, counts, GREEN, "trials", sweep)
    words = _said(sweep, ends)
    return Drawing(title=title, about=about, figure=figure, words=words, span="half")


def steps_per_rung(sweep: SweepResults) -> Drawing:
    """How many steps went into getting trials to each rung from the one before."""
    title = "Steps spent per rung"
    about = "The steps that all trials spent on their way to each rung from the one before."
    ends = _ends(sweep)
    if not ends:
        return Drawing(title=title, about=about, words=_nothing(sweep), span="half")
    spent: Counter[int] = Counter()
    for trial in sweep.trials:
        steps = sorted(trial.reports)
        for before, step in zip([0, *steps], steps, strict=False):
            spent[min(bisect_left(ends, step), len(ends) - 1)] += step - before
    total = sum(spent.values())
    figure = _bars(ends, [spent[i] for i in range(len(ends))], BLUE, "steps", sweep)
    words = f"{total} steps in all reports together, steps trained again included."
    return Drawing(title=title, about=about, figure=figure, words=words, span="half")


def _ends(sweep: SweepResults) -> list[int]:
    """The steps up to which each bar reaches: the rungs, else even parts of the longest trial."""
    longest = max((trial.step for trial in sweep.trials), default=0)
    if not longest:
        return []
    laid = [rung for rung in rungs(sweep) if rung <= longest]
    if len(laid) > 1:
        return [*laid, *([longest] if longest > laid[-1] else [])]
    parts = min(_MOST_BARS, longest)
    return [round((i + 1) * longest / parts) for i in range(parts)]


def _nothing(sweep: SweepResults) -> str:
    if not len(sweep.trials):
        return "There is no trial yet."
    return "No trial reported a step: nothing is known of what each cost but its time."


def _said(sweep: SweepResults, ends: Sequence[int]) -> str:
    if len(rungs(sweep)) > 1:
        return ""
    name = sweep.record.scheduler.get("name")
    return f"The scheduler {name} lays no rungs down: the bars are parts of the longest trial."


def _bars(
    ends: Sequence[int], heights: Sequence[int], colour: str, what: str, sweep: SweepResults
) -> go.Figure:
    figure = go.Figure()
    figure.add_bar(
        x=[str(end) for end in ends],
        y=list(heights),
        marker={"color": colour},
        text=list(heights),
        textposition="outside",
        cliponaxis=False,
        hovertemplate=f"step %{{x}}: %{{y}} {what}<extra></extra>",
    )
    is_rung = len(rungs(sweep)) > 1
    return styled(
        figure,
        height=320,
        xaxis={"title": {"text": "rung (step)" if is_rung else "up to step"}, "type": "category"},
        yaxis={"title": {"text": what}},
        margin={"t": 24},
    )
