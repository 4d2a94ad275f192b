"""A retest on a screen, as JSON, and as a table."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.console import Console, JustifyMethod
from rich.table import Table
from rich.text import Text

from sweeps import render
from sweeps.journal.status import Status
from sweeps.render import fact
from sweeps.retest.looks import looks, said_looks
from sweeps.retest.luck import is_overstated, percent, warnings
from sweeps.retest.results import Configuration, Retest
from sweeps.retest.statistics import LEVEL
from sweeps.storage.folder import SweepFolder

if TYPE_CHECKING:
    import pyarrow as pa

_BROAD = 1000
"""Characters that no table needs."""
_LEGEND = "● mean  ─ interval  · runs  ◆ the sweep's value"

_INTERVAL = f"{LEVEL:.0%} interval"
_SHAPES = (
    ((), 28),
    (("behind",), 28),
    (("behind", _INTERVAL), 28),
    (("behind", _INTERVAL), 20),
    (("behind", _INTERVAL, "spread"), 16),
)
"""Columns to leave out, and characters of the plot: for ever narrower screens."""

INTERVALS = (
    f"{LEVEL:.0%} of the mean over seeds: percentiles of the bootstrap, expanded for few seeds "
    f"(Hesterberg 2015)"
)
CHANCES = (
    "that its mean over all seeds is the best of these: posterior of a random-effects model with "
    "normal errors of one spread"
)


def show(retest: Retest, sweep: SweepFolder, *, console: Console) -> None:
    """Print the table with its plot, what is best, and what to be warned of."""
    console.print(_fitting(retest, console))
    console.print(Text(_LEGEND, "dim"))
    console.print()
    for line in _facts(retest, sweep):
        console.print(line)
    for warning in warnings(retest):
        console.print(Text(warning, "yellow"))


def _facts(retest: Retest, sweep: SweepFolder) -> Iterator[Text]:
    best = retest.best
    if best is not None:
        chance = (
            "" if best.chance is None else f"  the best with a chance of {percent(best.chance)}"
        )
        yield fact(
            "best",
            Text.assemble(
                f"{retest.objective.metric} ",
                (render.number(best.mean), "bold green"),
                (f"  trial {best.trial}{chance}", "dim"),
                f"  {render.parameters(best.entry.params)}",
            ),
        )
    if tied := retest.tied:
        who = f"trial{'' if len(tied) == 1 else 's'} {', '.join(map(str, tied))}"
        has = "has" if len(tied) == 1 else "have"
        yield fact("tie", Text(f"{who} {has} the same mean; the better in the sweep is first"))
    count = f"{retest.ended} of {retest.total} runs ended"
    paired = "the same for all configurations" if retest.is_paired else "another for each run"
    yield fact("runs", Text(f"{count}; seeds: {paired}; {render.duration(retest.elapsed)}", "dim"))
    yield fact("interval", Text(INTERVALS, "dim"))
    yield fact("chance", Text(CHANCES, "dim"))
    yield fact("test data", said_looks(sweep))


def _fitting(retest: Retest, console: Console) -> Table:
    """The fullest table that the screen holds: what it leaves out the plot shows too."""
    broad = console.options.update(width=_BROAD)
    tables = [_table(retest, left_out, plot) for left_out, plot in _SHAPES]
    fitting = (t for t in tables if console.measure(t, options=broad).maximum <= console.width)
    return next(fitting, tables[-1])


def _table(retest: Retest, left_out: Sequence[str], plot: int) -> Table:
    """A row a configuration."""
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, border_style="dim")
    axis = _Axis.of(retest, width=plot)
    rows = [_cells(retest, configuration, axis) for configuration in retest.configurations]
    headers = [header for header in rows[0] if header not in left_out]
    for header in headers:
        justify: JustifyMethod = "left" if header == axis.header else "right"
        table.add_column(header, justify=justify, no_wrap=True)
    for configuration, row in zip(retest.configurations, rows, strict=True):
        cells = [row[header] for header in headers]
        table.add_row(*cells, style="bold" if configuration is retest.best else "")
    return table


def _cells(retest: Retest, of: Configuration, axis: _Axis) -> dict[str, Text | str]:
    """By header."""
    mark = Text("● ", "green") if of is retest.best else Text()
    value = render.number(of.entry.value)
    if of is retest.winner:
        value = f"{value} ●"
    return {
        "trial": mark + Text(str(of.trial)),
        "sweep": Text(value, "yellow" if is_overstated(retest, of) else ""),
        "mean": render.number(of.mean),
        "spread": render.number(of.spread),
        "runs": _runs(of),
        _INTERVAL: "-" if of.interval is None else " to ".join(map(render.number, of.interval)),
        "best?": percent(of.chance),
        axis.header: axis.row(of),
        "behind": _behind(of),
    }


def _runs(of: Configuration) -> Text:
    """How many gave a value, and what became of the others."""
    text = Text(str(len(of.values)))
    for status in (Status.DIVERGED, Status.FAILED, Status.RUNNING, Status.PAUSED):
        if lost := of.lost(status):
            text += Text(f" {lost} {status}", render.STYLES[status])
    return text


def _behind(of: Configuration) -> str:
    if of.behind is None:
        return ""
    if of.behind_interval is None:
        return render.number(of.behind)
    low, high = map(render.number, of.behind_interval)
    return f"{render.number(of.behind)} ({low} to {high})"


class _Axis:
    """The plot's axis, the same for all rows."""

    def __init__(self, low: float, high: float, width: int) -> None:
        self.low, self.high, self.width = low, high, width

    @classmethod
    def of(cls, retest: Retest, *, width: int) -> _Axis:
        """From the least to the greatest that is drawn."""
        drawn = [v for c in retest.configurations for v in (*c.values, c.entry.value)]
        return cls(min(drawn), max(drawn), width)

    @property
    def header(self) -> str:
        """Its ends."""
        low, high = render.number(self.low), render.number(self.high)
        return f"{low}{high:>{max(1 + len(high), self.width - len(low))}}"

    def row(self, of: Configuration) -> Text:
        """A configuration's runs, mean, interval and value in the sweep; later ones on top."""
        cells = [" "] * self.width
        if of.interval is not None:
            low, high = map(self._place, of.interval)
            cells[low : high + 1] = "─" * (high + 1 - low)
        for value in of.values:
            cells[self._place(value)] = "·"
        cells[self._place(of.entry.value)] = "◆"
        if of.mean is not None:
            cells[self._place(of.mean)] = "●"
        return Text("".join(cells), "cyan")

    def _place(self, value: float) -> int:
        if self.high == self.low:
            return self.width // 2
        share = (value - self.low) / (self.high - self.low)
        return min(self.width - 1, max(0, round(share * (self.width - 1))))


# For machines


def as_json(retest: Retest, sweep: SweepFolder) -> dict[str, Any]:
    """All of it in plain values."""
    best = retest.best
    return {
        "sweep": retest.roster.sweep,
        "metric": retest.objective.metric,
        "mode": retest.objective.mode,
        "seed_key": retest.roster.seed_key,
        "paired": retest.is_paired,
        "runs": {"total": retest.total, "ended": retest.ended},
        "level": LEVEL,
        "interval": INTERVALS,
        "chance": CHANCES,
        "winner": retest.winner.trial,
        "best": None if best is None else best.trial,
        "configurations": [_row(retest, c) | _runs_of(c) for c in retest.configurations],
        "warnings": warnings(retest),
        "test_looks": [{"time": look.time, "what": look.what} for look in looks(sweep)],
    }


def _row(retest: Retest, of: Configuration) -> dict[str, Any]:
    low, high = of.interval or (None, None)
    behind_low, behind_high = of.behind_interval or (None, None)
    return {
        "trial": of.trial,
        "sweep_value": of.entry.value,
        "sweep_step": of.entry.step,
        "runs": len(of.values),
        "mean": of.mean,
        "spread": of.spread,
        "low": low,
        "high": high,
        "chance": of.chance,
        "behind": of.behind,
        "behind_low": behind_low,
        "behind_high": behind_high,
        "overstated": is_overstated(retest, of),
        "failed": of.lost(Status.FAILED),
        "diverged": of.lost(Status.DIVERGED),
        **{f"params.{name}": value for name, value in of.entry.params.items()},
    }


def _runs_of(of: Configuration) -> dict[str, Any]:
    runs = [
        {"trial": r.trial, "seed": r.seed, "status": r.status.value, "value": r.value}
        for r in of.runs
    ]
    return {"runs": runs}


def as_table(retest: Retest) -> pa.Table:
    """One row a configuration, best mean first."""
    import pyarrow as pa

    rows = [_row(retest, c) for c in retest.configurations]
    names = dict.fromkeys(name for row in rows for name in row)
    return pa.table({name: _column([row.get(name) for row in rows]) for name in names})


def _column(values: list[Any]) -> pa.Array:
    import pyarrow as pa

    plain = all(v is None or isinstance(v, int | float) for v in values)
    finite = [None if isinstance(v, float) and not math.isfinite(v) else v for v in values]
    texts = [None if v is None else render.parameter(v) for v in values]
    return pa.array(
        finite if plain and len({type(v) for v in values if v is not None}) < 2 else texts
    )
