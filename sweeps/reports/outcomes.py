"""The values that came out: how they are distributed, and the Pareto front of several."""

from __future__ import annotations

from itertools import combinations

import plotly.graph_objects as go
from optuna.visualization import plot_edf, plot_pareto_front

from sweeps.journal.objective import Objective
from sweeps.render import number
from sweeps.reports.drawing import Drawing
from sweeps.reports.quiet import quiet
from sweeps.reports.studies import Readable, of_objective, readable
from sweeps.reports.style import BEST, BLUE, GREY, objective_axis, plain, styled
from sweeps.reports.thinning import sample
from sweeps.results import SweepResults

_EDF_ABOUT = "How many of the trials came out at or below each value."
_FRONT = "Pareto front"
_FRONT_ABOUT = (
    "One point a trial; none beats those on the front (blue) in every objective, and the orange "
    "one is taken from it."
)
_MOST_POINTS = 500


def distributions(sweep: SweepResults) -> list[Drawing]:
    """The empirical distribution of each objective over the trials."""
    whole = readable(sweep)
    return [
        _distribution(sweep, objective, of_objective(whole, i))
        for i, objective in enumerate(sweep.objective.all)
    ]


def pareto_fronts(sweep: SweepResults) -> list[Drawing]:
    """Each pair of objectives of every trial; nothing where there is one objective."""
    objectives = sweep.objective.all
    if len(objectives) == 1:
        return []
    whole = readable(sweep)
    if not whole.trials:
        return [Drawing(title=_FRONT, about=_FRONT_ABOUT, words="No trial has a value yet.")]
    return [_front(sweep, whole, i, j) for i, j in combinations(range(len(objectives)), 2)]


def _distribution(sweep: SweepResults, objective: Objective, whole: Readable) -> Drawing:
    title = f"Distribution of {objective.metric}"
    if len(whole.trials) < 2:
        words = (
            f"One trial has a value, {number(whole.trials[0].value)}: no distribution yet."
            if whole.trials
            else "No trial has a value yet."
        )
        return Drawing(title=title, about=_EDF_ABOUT, words=words)
    with quiet():
        figure = plot_edf(whole.study(), target_name=plain(objective.metric))
    values = sorted(trial.values[0] for trial in whole.trials)
    figure.update_traces(
        line={"color": BLUE, "width": 2.5, "shape": "hv"},
        fill="tozeroy",
        fillcolor="rgba(0,114,178,0.12)",
        hovertemplate="%{y:.0%} of the trials at or below %{x:.5g}<extra></extra>",
        showlegend=False,
    )
    styled(
        figure,
        height=320,
        xaxis=objective_axis(objective),
        yaxis={"title": {"text": "share of the trials"}, "tickformat": ".0%", "range": [0, 1.02]},
        margin={"t": 12},
    )
    middle = values[len(values) // 2]
    words = (
        f"{len(values)} trials with a value: best {number(objective.best(values))}, median "
        f"{number(middle)}. Trials that were stopped count with the best value they had."
    )
    return Drawing(
        title=title,
        about=_EDF_ABOUT,
        figure=figure,
        words=words,
        span="half" if sweep.objective.others else "full",
    )


def _front(sweep: SweepResults, whole: Readable, i: int, j: int) -> Drawing:
    x, y = sweep.objective.all[i], sweep.objective.all[j]
    front = {trial.number for trial in sweep.front}
    own = [sweep.trials[trial.number] for trial in whole.trials]
    kept = front | {trial.number for trial in sample(sweep, own, _MOST_POINTS)}
    trials = [trial for trial in whole.trials if trial.number in kept]
    with quiet():
        figure = plot_pareto_front(
            whole.study(trials),
            target_names=[plain(x.metric), plain(y.metric)],
            targets=lambda trial: [trial.values[i], trial.values[j]],
        )
    numbers_at = {(t.values[i], t.values[j]): t.number for t in trials}
    for trace, colour, size in zip(figure.data, (GREY, BLUE), (6, 9), strict=True):
        numbers = [numbers_at[point] for point in zip(trace.x, trace.y, strict=True)]
        trace.marker = {"color": colour, "size": size}
        trace.update(
            name="on the front" if colour == BLUE else "beaten by others",
            showlegend=True,
            text=[f"trial {n}" for n in numbers],
            hovertemplate="%{text}: %{x:.5g}, %{y:.5g}<extra></extra>",
        )
    _add_chosen(figure, sweep, i, j)
    styled(figure, xaxis=objective_axis(x), yaxis=objective_axis(y))
    words = f"{len(front)} of {len(whole.trials)} trials are on the front."
    if len(sweep.objective.all) > 2:
        words += f" It is that of all {len(sweep.objective.all)} objectives, seen from these two."
    if len(trials) < len(whole.trials):
        words += f" {len(trials)} trials are shown: the front, and of the rest evenly."
    title = f"{_FRONT}: {x.metric} and {y.metric}"
    return Drawing(title=title, about=_FRONT_ABOUT, figure=figure, words=words)


def _add_chosen(figure: go.Figure, sweep: SweepResults, i: int, j: int) -> None:
    chosen = sweep.best
    if chosen is None or not chosen.values:
        return
    figure.add_scatter(
        x=[chosen.values[i]],
        y=[chosen.values[j]],
        mode="markers",
        name=f"taken: trial {chosen.number}",
        marker={"color": BEST, "size": 14, "symbol": "star"},
        hovertemplate=f"trial {chosen.number}: %{{x:.5g}}, %{{y:.5g}}<extra></extra>",
    )
