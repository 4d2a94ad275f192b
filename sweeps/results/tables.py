"""The two tables of a sweep, as Arrow, from its trials."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pyarrow as pa

from sweeps.errors import headline
from sweeps.journal.events import Reported
from sweeps.journal.objective import Objective
from sweeps.journal.trials import Trial
from sweeps.results import schema
from sweeps.results.columns import parameter_array
from sweeps.results.schema import METRICS, TableName
from sweeps.results.sweep import SweepResults
from sweeps.storage.checkpoints import best_left

_PLAIN = frozenset(column.name for column in METRICS if not column.is_pattern)


def trials_table(
    sweep: SweepResults, trials: Sequence[Trial] | None = None, **about: Any
) -> pa.Table:
    """One row a trial, by number.

    Args:
        sweep: Of which.
        trials: A part of its trials, all by default. In a part what only the whole sweep, or a
            look at its storage, can tell is null: `pareto` and `checkpoint`.
        about: Further metadata.
    """
    is_part = trials is not None
    trials = list(sweep.trials) if trials is None else trials
    columns = _Columns("trials")
    for name, value in _own(sweep, is_part=is_part).items():
        columns.add(name, [value(trial) for trial in trials])
    for i, objective in enumerate(sweep.objective.others, start=1):
        others = [t.values[i] if t.values else None for t in trials]
        columns.add("value.<metric>", others, objective.metric)
    rows = [sweep.values(trial) for trial in trials]
    for name, domains in sweep.parameters.items():
        array = parameter_array(domains, [row.get(name) for row in rows])
        said = "; ".join(domain.expression() for domain in domains)
        columns.add("params.<name>", array, name, about=f"Searched: {said}.")
    at_best = [trial.best.metrics if trial.best is not None else {} for trial in trials]
    columns.add_metrics("best.<metric>", at_best, sweep.objective)
    columns.add_metrics("returned.<metric>", [t.metrics for t in trials], sweep.objective)
    if not is_part:
        closed, best = sweep.trials.closed, sweep.best
        about["closed"] = None if closed is None else closed.reason
        about["best"] = None if best is None else best.number
    return columns.table(schema.about(sweep, "trials", **about))


def metrics_table(
    sweep: SweepResults, trials: Iterable[Trial] | None = None, **about: Any
) -> pa.Table:
    """One row a report, by trial and step; one column a metric, null where it is missing.

    A step has several where a trial trained it again from another trial's checkpoint: the earlier
    ones first.
    """
    of = sweep.trials if trials is None else trials
    reports = [report for trial in of for report in _by_step(trial)]
    columns = _Columns("metrics")
    columns.add("trial", [report.trial for report in reports])
    columns.add("run", [report.run for report in reports])
    columns.add("step", [report.step for report in reports])
    columns.add("time", [_ms(report.time) for report in reports])
    columns.add_metrics("<metric>", [report.metrics for report in reports], sweep.objective)
    return columns.table(schema.about(sweep, "metrics", **about))


class _Columns:
    """Columns of a table, put together one by one."""

    def __init__(self, table: TableName) -> None:
        self._table = table
        self._fields: list[pa.Field] = []
        self._arrays: list[pa.Array] = []

    def add(
        self,
        column: str,
        values: Sequence[Any] | pa.Array,
        name: str | None = None,
        *,
        about: str = "",
    ) -> None:
        """Add one of the schema's columns; of a pattern, that of a name."""
        known = schema.column(self._table, column)
        array = values if isinstance(values, pa.Array) else pa.array(values, known.type)
        full = None if name is None else f"{column.partition('<')[0]}{name}"
        if full in _PLAIN and self._table == "metrics":
            full = f"metric.{name}"
        self._fields.append(known.field(full, kind=array.type, about=about))
        self._arrays.append(array)

    def add_metrics(self, column: str, rows: Sequence[Any], objective: Objective) -> None:
        """Add a column for each metric that is in any row: the objective first, others by name."""
        names = {name for row in rows for name in row}
        for name in sorted(names, key=lambda name: (name != objective.metric, name)):
            self.add(column, [_number(row.get(name)) for row in rows], name)

    def table(self, about: dict[bytes, bytes]) -> pa.Table:
        """The table, its columns in the schema's order."""
        made = pa.Table.from_arrays(self._arrays, schema=pa.schema(self._fields, metadata=about))
        return made.select(schema.ordered(self._table, made.column_names))


def _own(sweep: SweepResults, *, is_part: bool) -> dict[str, Callable[[Trial], Any]]:
    """The columns that every sweep's trials have; `pareto` where there are several objectives."""
    several = bool(sweep.objective.others)
    front = set() if is_part else {trial.number for trial in sweep.front}
    there = (lambda _: False) if is_part else sweep.folder.finder()
    columns: dict[str, Callable[[Trial], Any]] = {
        "number": lambda t: t.number,
        "status": lambda t: sweep.status(t).value,
        "value": lambda t: _number(t.value),
        "pareto": lambda t: None if is_part else t.number in front,
        "best_step": lambda t: t.best.step if t.best else None,
        "step": lambda t: t.step,
        "promotions": lambda t: t.promotions,
        "losses": lambda t: t.losses,
        "preemptions": lambda t: t.preemptions,
        "exploits": lambda t: len(t.lineage),
        "schedule": lambda t: _schedule(sweep, t),
        "retries": lambda t: len(t.failures),
        "duration_s": lambda t: t.seconds,
        "started": lambda t: _ms(t.started),
        "ended": lambda t: _ms(t.ended),
        "cause": lambda t: t.cause,
        "error": lambda t: headline(t.error),
        "checkpoint": lambda t: best_left(there, t),
    }
    return {name: column for name, column in columns.items() if name != "pareto" or several}


def _schedule(sweep: SweepResults, trial: Trial) -> str | None:
    """As JSON, where parameters changed on the way to the trial's best model."""
    if len(trial.best_schedule) < 2:
        return None
    stretches = zip(trial.best_schedule, sweep.schedule(trial), strict=True)
    return json.dumps(
        [
            {"step": step, "trial": stretch.trial, "params": values}
            for stretch, (step, values) in stretches
        ]
    )


def _by_step(trial: Trial) -> list[Reported]:
    return sorted([*trial.replaced, *trial.reports.values()], key=lambda r: r.step)


def _number(value: Any) -> float | None:
    return None if value is None else float(value)


def _ms(time: float | None) -> int | None:
    return None if time is None else round(time * 1000)
