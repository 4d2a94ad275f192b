"""The search space and what came of it: the objective over one and over two parameters."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import combinations

import plotly.graph_objects as go
from optuna.trial import FrozenTrial
from optuna.visualization import plot_contour, plot_slice

from sweeps.journal.trials import Trial
from sweeps.render import number
from sweeps.reports.axes import axis_of
from sweeps.reports.clipping import clipped
from sweeps.reports.drawing import Drawing
from sweeps.reports.importances import ranking
from sweeps.reports.quiet import quiet
from sweeps.reports.studies import Axis, Readable, of_first_objective, readable, snapped
from sweeps.reports.style import BLUE, plain, styled
from sweeps.reports.thinning import sample
from sweeps.results import SweepResults

_MOST_POINTS = 400
_MOST_SLICES = 12
_CONTOURED = 3


def slices(sweep: SweepResults) -> list[Drawing]:
    """The objective against each parameter, the most important first."""
    whole = of_first_objective(readable(sweep))
    if reason := too_little(sweep, whole):
        return [Drawing(title="Slices", about="", words=reason)]
    kept = {t.number for t in sample(sweep, own(sweep, whole.trials), _MOST_POINTS)}
    trials = [trial for trial in whole.trials if trial.number in kept]
    axes = ranking(sweep)
    drawn = [_slice(sweep, axis, whole, trials) for axis in axes[:_MOST_SLICES]]
    if rest := axes[_MOST_SLICES:]:
        names = ", ".join(axis.full for axis in rest)
        words = f"The {_MOST_SLICES} most important are shown; left out: {names}."
        drawn.append(Drawing(title="Further parameters", about="", words=words))
    return drawn


def contours(sweep: SweepResults) -> list[Drawing]:
    """The objective over each pair of the most important parameters."""
    whole = of_first_objective(readable(sweep))
    if reason := too_little(sweep, whole):
        return [Drawing(title="Contours", about="", words=reason)]
    numeric = [axis for axis in ranking(sweep) if not axis.is_choice]
    if len(numeric) < 2:
        words = "Contours need two parameters that are numbers and were varied."
        return [Drawing(title="Contours", about="", words=words)]
    return [_contour(sweep, x, y, whole) for x, y in combinations(numeric[:_CONTOURED], 2)]


def too_little(sweep: SweepResults, whole: Readable) -> str:
    """Why there is nothing to draw, if there is not."""
    if not len(sweep.trials):
        return "There is no trial yet."
    if not whole.trials:
        return (
            "No trial has a value to show: see the failures below."
            if _all_bad(sweep)
            else ("No trial has a value yet.")
        )
    if len(whole.trials) < 2:
        return "One trial has a value; a comparison needs two."
    if not whole.varied:
        return "Every parameter has one value in all trials, so there is nothing to compare."
    return ""


def _all_bad(sweep: SweepResults) -> bool:
    return all(sweep.status(trial).is_final for trial in sweep.trials)


def own(sweep: SweepResults, trials: Sequence[FrozenTrial]) -> Iterator[Trial]:
    """The trials as the sweep has them."""
    return (sweep.trials[trial.number] for trial in trials)


def left_out(shown: int, of: int, what: str) -> Iterator[str]:
    """What was thinned, in a sentence, if anything was."""
    if shown < of:
        yield f"{shown} of {of} {what} are shown: the best, and of the rest evenly."


def _slice(
    sweep: SweepResults, axis: Axis, whole: Readable, trials: Sequence[FrozenTrial]
) -> Drawing:
    having = [trial for trial in trials if axis.name in trial.params]
    with quiet():
        figure = plot_slice(
            whole.study(having),
            params=[axis.name],
            target_name=plain(sweep.objective.metric),
        )
    points = figure.data[0]
    numbers = list(points.marker.color)
    texts = [f"trial {n}, {_trained(sweep, n)}" for n in numbers]
    values, beyond = clipped(sweep.objective, points.y)
    if axis.is_choice:
        _boxes(figure, points, texts)
    else:
        points.update(
            marker={
                "color": [sweep.trials[n].step for n in numbers],
                "coloraxis": "coloraxis",
                "size": 6,
                "opacity": 0.75,
                "line": {"width": 0},
                "colorscale": None,
                "colorbar": None,
                "showscale": None,
            },
            text=texts,
            hovertemplate="%{text}<br>%{x}: %{y:.5g}<extra></extra>",
        )
    styled(
        figure,
        height=300,
        coloraxis={"showscale": False},
        xaxis=axis_of(axis, [trial.params[axis.name] for trial in having]),
        yaxis={**values, "title": {"text": plain(sweep.objective.metric)}},
        margin={"t": 12},
    )
    have = len(whole.column(axis))
    words = [*left_out(len(having), have, "points"), *([beyond] if beyond else [])]
    if have < len(whole.trials):
        words.append(f"{have} of {len(whole.trials)} trials have it: it is conditional.")
    return Drawing(title=axis.full, about="", figure=figure, words=" ".join(words), span="third")


def _boxes(figure: go.Figure, points: go.Scatter, texts: Sequence[str]) -> None:
    """A box a choice, its trials beside each other."""
    xs = [_unquoted(x) for x in points.x]
    figure.data = []
    figure.add_box(
        x=xs,
        y=points.y,
        text=texts,
        boxpoints="all",
        jitter=0.6,
        pointpos=0,
        fillcolor="rgba(0,0,0,0)",
        line={"color": BLUE, "width": 1.2},
        marker={"color": BLUE, "size": 5, "opacity": 0.5},
        hovertemplate="%{text}<br>%{x}: %{y:.5g}<extra></extra>",
        showlegend=False,
    )
    order = figure.layout.xaxis.categoryarray or ()
    figure.update_xaxes(categoryarray=[_unquoted(x) for x in order if _unquoted(x) in set(xs)])


def _unquoted(label: str) -> str:
    """A choice's label: Optuna shows texts as Python writes them."""
    return label[1:-1] if label[:1] in "'\"" and label[-1:] == label[:1] else label


def _trained(sweep: SweepResults, trial: int) -> str:
    of = sweep.trials[trial]
    status = sweep.status(of)
    return f"{status} at step {of.step}" if of.reports else str(status)


def _ends(sweep: SweepResults, whole: Readable) -> tuple[float, float]:
    """Of the colours: the worst tenth of the values shares one, or it would leave no other."""
    values = sorted((t.values[0] for t in whole.trials), key=sweep.objective.loss)
    ends = values[0], values[math.ceil(0.9 * (len(values) - 1))]
    return min(ends), max(ends)


def _contour(sweep: SweepResults, x: Axis, y: Axis, whole: Readable) -> Drawing:
    both = [t for t in whole.trials if x.name in t.params and y.name in t.params]
    title, metric = f"{x.full} and {y.full}", sweep.objective.metric
    cells = [snapped(trial, (x, y)) for trial in both]
    if any(len({cell.params[axis.name] for cell in cells}) < 2 for axis in (x, y)):
        words = "They never had two values each in the same trials: nothing to draw."
        return Drawing(title=title, about="", words=words, span="third")
    with quiet():
        figure = plot_contour(
            whole.study(cells),
            params=[x.name, y.name],
            target_name=plain(metric),
        )
    x, y = sorted((x, y), key=lambda axis: axis.name)  # as Optuna places them
    kept = {t.number for t in sample(sweep, own(sweep, both), _MOST_POINTS)}
    shown = [trial for trial in both if trial.number in kept]
    figure.data = figure.data[:2]
    surface, points = figure.data
    low, high = _ends(sweep, whole)
    surface.update(
        colorscale="Cividis",
        reversescale=sweep.objective.mode == "min",
        contours={"coloring": "heatmap", "showlines": False},
        zmin=low,
        zmax=high,
        colorbar={
            "title": {"text": plain(sweep.objective.metric), "side": "top"},
            "orientation": "h",
            "thickness": 8,
            "y": 1.02,
            "yanchor": "bottom",
            "nticks": 5,
        },
        hovertemplate="%{z:.5g}<extra></extra>",
        hoverinfo=None,
    )
    points.update(
        x=[trial.params[x.name] for trial in shown],
        y=[trial.params[y.name] for trial in shown],
        text=[f"trial {t.number}: {number(t.values[0])}" for t in shown],
        marker={
            "color": "#ffffff",
            "size": 4,
            "opacity": 0.8,
            "line": {"color": "#222", "width": 0.7},
        },
        hovertemplate="%{text}<extra></extra>",
    )
    styled(
        figure,
        height=400,
        xaxis=axis_of(x, [trial.params[x.name] for trial in both]),
        yaxis=axis_of(y, [trial.params[y.name] for trial in both]),
        margin={"t": 12},
    )
    words = " ".join(left_out(len(shown), len(both), "points"))
    return Drawing(title=title, about="", figure=figure, words=words, span="third")
