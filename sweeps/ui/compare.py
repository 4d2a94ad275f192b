"""Curves of a few trials in one figure."""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go

from sweeps.journal.trials import Trial
from sweeps.reports.style import COLOURS, plain, styled
from sweeps.results import SweepResults

_DASHES = ("solid", "dash", "dot", "dashdot")
_HEIGHT = 380


def metric_names(sweep: SweepResults) -> list[str]:
    """What the trials reported or returned, objectives first."""
    objectives = [objective.metric for objective in sweep.objective.all]
    return list(dict.fromkeys([*objectives, *sorted(sweep.trials.metric_names)]))


def curves(sweep: SweepResults, trials: Sequence[Trial], metric: str) -> go.Figure | None:
    """One line a trial, a metric over steps; None where none of them reported it."""
    figure = go.Figure()
    for place, trial in enumerate(trials):
        reports = sorted(trial.reports.values(), key=lambda report: report.step)
        points = [(r.step, r.metrics[metric]) for r in reports if metric in r.metrics]
        if points:
            figure.add_scatter(
                x=[step for step, _ in points],
                y=[value for _, value in points],
                name=f"trial {trial.number}",
                mode="lines+markers" if len(points) < 30 else "lines",
                line={
                    "color": COLOURS[place % len(COLOURS)],
                    "dash": _DASHES[place // len(COLOURS) % len(_DASHES)],
                    "width": 2,
                },
                marker={"size": 5},
                hovertemplate=f"trial {trial.number}, step %{{x}}: %{{y:.5g}}<extra></extra>",
            )
    if not figure.data:
        return None
    return styled(
        figure,
        height=_HEIGHT,
        showlegend=True,
        xaxis={"title": {"text": "step"}, "rangemode": "tozero"},
        yaxis={"title": {"text": plain(metric)}},
    )
