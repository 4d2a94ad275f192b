"""How every figure looks: one template for light and one for dark, one colour for each meaning."""

from __future__ import annotations

from html import escape
from typing import Any

import plotly.graph_objects as go

from sweeps.journal.objective import Objective
from sweeps.journal.status import Status

FONT = 'Inter, ui-sans-serif, system-ui, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif'

# After Okabe and Ito (2008), which people with any colour vision tell apart; each darkened or kept
# so that it stands out 3:1 against the light and the dark background alike.
BLUE, GREEN, ORANGE = "#0072b2", "#009e73", "#d55e00"
PINK, AMBER, GREY = "#c2679a", "#a97900", "#7f8790"
COLOURS = (BLUE, ORANGE, GREEN, PINK, AMBER, GREY)

STATUS_COLOURS = {
    Status.RUNNING: BLUE,
    Status.PAUSED: AMBER,
    Status.STOPPED: GREY,
    Status.COMPLETE: GREEN,
    Status.DIVERGED: PINK,
    Status.FAILED: ORANGE,
}
STATUS_SYMBOLS = {
    Status.RUNNING: "triangle-right",
    Status.PAUSED: "square",
    Status.STOPPED: "x-thin-open",
    Status.COMPLETE: "circle",
    Status.DIVERGED: "diamond",
    Status.FAILED: "cross",
}
BEST = ORANGE
"""Of the best trial, wherever it is seen."""

HEIGHT = 440
"""Of a figure that says nothing else, in pixels."""


def plain(text: object) -> str:
    """A text that plotly shows as it is: it reads a little HTML otherwise."""
    return escape(str(text), quote=False)


def template(*, dark: bool) -> go.layout.Template:
    """The look of all figures on a light or a dark page."""
    text, quiet, grid = (
        ("#e6e9ee", "#a8b0bb", "#2c333d") if dark else ("#1f2630", "#5a6472", "#e4e7eb")
    )
    steps = [[0, "#7f8790"], [1, "#56b4e9"]] if dark else [[0, "#a3abb5"], [1, "#00568a"]]
    veil = "rgba(23,29,37,0.7)" if dark else "rgba(255,255,255,0.75)"
    hover, edge = ("#1c222b", "#3a434f") if dark else ("#ffffff", "#c9cfd6")
    axis = {
        "gridcolor": grid,
        "linecolor": grid,
        "zeroline": False,
        "automargin": True,
        "title": {"font": {"size": 13, "color": quiet}, "standoff": 10},
        "tickfont": {"size": 12, "color": quiet},
        "ticks": "outside",
        "ticklen": 4,
        "tickcolor": grid,
        "exponentformat": "power",
        "minexponent": 4,
    }
    layout: dict[str, Any] = {
        "font": {"family": FONT, "size": 13, "color": text},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "colorway": COLOURS,
        "coloraxis": {"colorscale": steps},
        "annotationdefaults": {"bgcolor": veil, "borderpad": 1, "font": {"color": text}},
        "xaxis": axis,
        "yaxis": axis,
        "hoverlabel": {"bgcolor": hover, "bordercolor": edge, "font": {"color": text, "size": 12}},
        "legend": {
            "orientation": "h",
            "y": 1.02,
            "yanchor": "bottom",
            "x": 0,
            "font": {"size": 12},
        },
        "margin": {"l": 56, "r": 16, "t": 40, "b": 52},
        "modebar": {"bgcolor": "rgba(0,0,0,0)", "color": quiet, "activecolor": text},
    }
    return go.layout.Template(layout=layout)


def styled(figure: go.Figure, **layout: Any) -> go.Figure:
    """The figure in the common look, without a title of its own: its page gives it one."""
    figure.update_layout(
        template=template(dark=False), title=None, **{"height": HEIGHT, "width": None, **layout}
    )
    return figure


def ramp(share: float) -> str:
    """From grey, at 0, to blue, at 1."""
    ends = [[int(colour[i : i + 2], 16) for i in (1, 3, 5)] for colour in (GREY, "#1a84cc")]
    mixed = (round(a + (b - a) * share) for a, b in zip(*ends, strict=True))
    return f"rgb({', '.join(map(str, mixed))})"


def objective_axis(objective: Objective) -> dict[str, Any]:
    """An axis of the objective: its name, and which end is the better one."""
    return {"title": {"text": f"{plain(objective.metric)} ({better(objective)})"}}


def better(objective: Objective) -> str:
    """Which way an objective is better."""
    return "lower is better" if objective.mode == "min" else "higher is better"
