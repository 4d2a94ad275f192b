"""How a sweep looks on a screen: numbers, times and tables in one style, as rich renderables."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from sweeps.journal.status import Status

if TYPE_CHECKING:
    from sweeps.journal.trials import Trial
    from sweeps.results import SweepResults

STYLES = {
    Status.RUNNING: "cyan",
    Status.PAUSED: "yellow",
    Status.STOPPED: "dim",
    Status.COMPLETE: "green",
    Status.DIVERGED: "magenta",
    Status.FAILED: "red",
}
_LONGEST_VALUE = 24
_PLAIN_WIDTH = 1000
_FACT = 12
"""Columns of a fact's name."""


def make_console(*, stderr: bool = False) -> Console:
    """A console that wraps for a terminal alone: elsewhere each line stays whole, for grep."""
    console = Console(stderr=stderr, highlight=False, soft_wrap=True)
    if not console.is_terminal:
        console.width = _PLAIN_WIDTH
    return console


@contextmanager
def working(console: Console) -> Iterator[Callable[[str], None]]:
    """Says what is being done, for what takes longer than one waits: on a terminal in one line that
    goes when it is done, elsewhere as a line each."""
    if not console.is_terminal:
        yield lambda text: console.print(text, markup=False)
        return
    with console.status("") as status:
        yield lambda text: status.update(Text(text))


def number(value: float | None) -> str:
    """A metric's value in five digits."""
    if value is None:
        return "-"
    return f"{value:.5g}" if math.isfinite(value) else str(value)


def duration(seconds: float) -> str:
    """`12s`, `3m 05s`, `2h 07m`, `1d 03h`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m {whole % 60:02d}s"
    if whole < 86400:
        return f"{whole // 3600}h {whole % 3600 // 60:02d}m"
    return f"{whole // 86400}d {whole % 86400 // 3600:02d}h"


def short_names(names: Iterable[str]) -> dict[str, str]:
    """Each dotted name's shortest ending that no other shares: `optimizer.lr` is `lr`."""
    names = list(names)
    endings = {name: _endings(name) for name in names}
    taken = [ending for name in names for ending in endings[name]]
    return {name: next((e for e in endings[name] if taken.count(e) == 1), name) for name in names}


def _endings(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[i:]) for i in reversed(range(len(parts)))]


def parameter(value: Any) -> str:
    """A parameter's value in few characters."""
    text = f"{value:.4g}" if isinstance(value, float) else _word(value)
    return text if len(text) <= _LONGEST_VALUE else f"{text[: _LONGEST_VALUE - 1]}…"


def _word(value: Any) -> str:
    words = {None: "null", True: "true", False: "false"}
    return words[value] if value is None or isinstance(value, bool) else str(value)


def parameters(values: Mapping[str, Any]) -> str:
    """`lr=0.0031 layers=2`."""
    short = short_names(values)
    return " ".join(f"{short[name]}={parameter(value)}" for name, value in values.items())


def counts(of: Mapping[Status, int], *, show: Iterable[Status] = Status) -> Text:
    """`9 running  3 paused  1 complete`: what there is, each in its colour."""
    parts = [Text(f"{of[s]} {s}", STYLES[s]) for s in show if of.get(s, 0) > 0]
    return Text("  ").join(parts)


def trials_table(sweep: SweepResults, trials: Sequence[Trial], *, width: int) -> Table:
    """A table of trials in the order given; the best one, or the Pareto front, is marked.

    The parameters get a column each where they fit in `width`, else one together.
    """
    rows = [sweep.values(trial) for trial in trials]
    names = [*sweep.parameters]
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, border_style="dim")
    for header in ("trial", *(objective.metric for objective in sweep.objective.all), "step"):
        table.add_column(header, justify="right", no_wrap=True)
    table.add_column("status", no_wrap=True)
    table.add_column("time", justify="right", no_wrap=True)
    if _width_of(names, rows) <= width - _fixed_width(sweep):
        columns = _one_each(table, names, rows)
    else:
        table.add_column("parameters", overflow="fold")
        columns = [[parameters(row)] for row in rows]
    for trial, cells in zip(trials, columns, strict=True):
        table.add_row(*_fixed_cells(sweep, trial), *cells, style=_row_style(sweep, trial))
    return table


def _one_each(
    table: Table, names: Sequence[str], rows: Sequence[Mapping[str, Any]]
) -> list[list[str]]:
    short = short_names(names)
    for name in names:
        numeric = all(type(row[name]) in (int, float) for row in rows if name in row)
        table.add_column(short[name], justify="right" if numeric else "left", no_wrap=True)
    return [[_cell(row, name) for name in names] for row in rows]


def _cell(row: Mapping[str, Any], name: str) -> str:
    """A parameter's value; empty where it does not exist."""
    return parameter(row[name]) if name in row else ""


def _width_of(names: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> int:
    short = short_names(names)
    cells = [[short[name], *(_cell(row, name) for row in rows)] for name in names]
    return sum(max(map(cell_len, column)) + 2 for column in cells)


def _fixed_width(sweep: SweepResults) -> int:
    metrics = sum(max(cell_len(o.metric), 10) + 2 for o in sweep.objective.all) - 2
    return metrics + sum(map(len, ("● trial", "  step", "  complete", "  59m 59s", "  ")))


def _fixed_cells(sweep: SweepResults, trial: Trial) -> list[Text | str]:
    status = sweep.status(trial)
    others: Sequence[float | None] = trial.values[1:] or [None] * len(sweep.objective.others)
    return [
        _mark(sweep, trial) + Text(str(trial.number)),
        number(trial.value),
        *map(number, others),
        str(trial.step) if trial.reports else "-",
        Text(status.value, STYLES[status]),
        duration(trial.seconds),
    ]


def _mark(sweep: SweepResults, trial: Trial) -> Text:
    """The best trial; and the others of a Pareto front."""
    if trial is sweep.best:
        return Text("● ", "green")
    return Text("○ ", "green") if trial in sweep.front else Text()


def _row_style(sweep: SweepResults, trial: Trial) -> str:
    return "bold" if trial is sweep.best else ""


def fact(name: str, value: Text | str) -> Text:
    """A line that says one thing by its name."""
    return Text.assemble((f"{name:<{_FACT}}", "dim"), value)


def hanging(line: Text, console: Console, *, indent: int = _FACT) -> Text:
    """A line for a narrow terminal: what does not fit goes on below, behind its name."""
    room = console.width - indent
    if line.cell_len <= console.width or room < _FACT:
        return line
    name, value = line[:indent], line[indent:]
    parts = value.divide(_breaks(value.plain, room))
    for part in parts:
        part.rstrip()
    return name + Text(f"\n{' ' * indent}").join(parts)


def _breaks(text: str, room: int) -> Iterator[int]:
    """Where to break a text; a word that is too long stays whole, for a terminal to break."""
    column = 0
    for word in re.finditer(r"\S+\s*", text):
        if column and column + cell_len(word[0].rstrip()) > room:
            yield word.start()
            column = 0
        column += cell_len(word[0])


def command(name: str, words: str, console: Console) -> Text:
    """A command by its name; it stays in one piece to be copied, below its name if need be."""
    line = fact(name, words)
    if line.cell_len <= console.width:
        return line
    return Text.assemble((name, "dim"), f"\n  {words}")
