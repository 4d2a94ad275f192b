"""What a retest of the best with other seeds says: whose lead was luck."""

from __future__ import annotations

import plotly.graph_objects as go

from sweeps.errors import SweepError
from sweeps.render import number
from sweeps.reports.drawing import Drawing
from sweeps.reports.memo import once
from sweeps.reports.style import BEST, BLUE, GREY, objective_axis, styled
from sweeps.reports.tables import Table
from sweeps.results import SweepResults
from sweeps.retest.luck import percent, warnings
from sweeps.retest.results import Configuration, Retest, read_retest
from sweeps.retest.statistics import LEVEL

_TITLE = "The best, trained again with other seeds"
_ABOUT = (
    f"The bar is the {LEVEL:.0%} interval of a configuration's mean over seeds, each point a seed; "
    "the diamond is what the sweep said. A diamond better than its bar was luck."
)


@once
def _retest(sweep: SweepResults) -> Retest | None:
    return read_retest(sweep.folder)


def retests(sweep: SweepResults) -> list[Drawing]:
    """The means of the configurations that were trained again; nothing where none were."""
    try:
        retest = _retest(sweep)
    except SweepError as error:
        return [Drawing(title=_TITLE, about=_ABOUT, words=f"The retest cannot be read: {error}.")]
    if retest is None:
        return []
    shown = [c for c in reversed(retest.configurations) if c.values]
    said = " ".join(f"{text[0].upper()}{text[1:]}." for text in warnings(retest))
    if not shown:
        words = f"No run has given a value yet. {said}"
        return [Drawing(title=_TITLE, about=_ABOUT, words=words)]
    figure = go.Figure()
    for configuration in shown:
        _add(figure, configuration, colour=BEST if configuration is retest.best else BLUE)
    figure.add_scatter(
        x=[c.entry.value for c in shown],
        y=[_name(c) for c in shown],
        mode="markers",
        name="in the sweep",
        marker={"symbol": "diamond-open", "size": 10, "color": GREY, "line": {"width": 2}},
        hovertemplate="%{y} in the sweep: %{x:.5g}<extra></extra>",
    )
    styled(
        figure,
        height=140 + 44 * len(shown),
        xaxis=objective_axis(sweep.objective),
        yaxis={"type": "category", "ticks": ""},
    )
    return [Drawing(title=_TITLE, about=_ABOUT, figure=figure, words=said)]


def retest_table(sweep: SweepResults) -> Table | None:
    """The same in numbers; None where there is nothing to say."""
    try:
        retest = _retest(sweep)
    except SweepError:
        return None  # the drawing says why
    if retest is None:
        return None
    return Table(
        title="Retest",
        header=("trial", "in the sweep", "mean", "spread", "runs", "interval", "chance to be best"),
        rows=[_row(configuration) for configuration in retest.configurations],
        numeric=frozenset(range(7)),
        marked=frozenset(i for i, c in enumerate(retest.configurations) if c is retest.best),
    )


def _add(figure: go.Figure, of: Configuration, *, colour: str) -> None:
    if of.interval is not None:
        figure.add_scatter(
            x=list(of.interval),
            y=[_name(of)] * 2,
            mode="lines",
            line={"color": colour, "width": 6},
            opacity=0.45,
            showlegend=False,
            hoverinfo="skip",
        )
    figure.add_scatter(
        x=of.values,
        y=[_name(of)] * len(of.values),
        mode="markers",
        marker={"color": colour, "size": 7},
        showlegend=False,
        hovertemplate="%{y}: %{x:.5g}<extra></extra>",
    )


def _name(of: Configuration) -> str:
    return f"trial {of.trial}"


def _row(of: Configuration) -> list[str]:
    interval = "-" if of.interval is None else " to ".join(map(number, of.interval))
    values = (of.entry.value, of.mean, of.spread)
    return [str(of.trial), *map(number, values), str(len(of.values)), interval, percent(of.chance)]
