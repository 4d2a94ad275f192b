"""Tables of a sweep's trials and metrics, as Arrow, from its journal alone.

    sweep = load_sweep(find_sweep("mnist"))
    sweep.table().to_pandas()

Works while the sweep runs as well as after it, and changes nothing in its folder.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from cluster.bucket import is_url
from sweeps.columns import parameter_array
from sweeps.errors import SweepError, headline
from sweeps.journal.events import Event, Opened, Reported
from sweeps.journal.objective import At, Mode, Objective
from sweeps.journal.pareto import Scalarization, pareto_front
from sweeps.journal.segments import has_journal, read_events
from sweeps.journal.status import Status
from sweeps.journal.trials import Trial, Trials
from sweeps.space.domains import Domain
from sweeps.space.space import Space
from sweeps.storage.checkpoints import best_left
from sweeps.storage.folder import Record, SweepFolder, find_sweep

if TYPE_CHECKING:
    import pyarrow as pa

_METRICS_COLUMNS = ("trial", "run", "step", "time")


@dataclass(frozen=True, kw_only=True)
class SweepResults:
    """A sweep as its record and its journal tell it."""

    folder: SweepFolder
    record: Record
    trials: Trials
    elapsed: float
    """How long drivers have run the sweep, the time between them not counted."""

    @cached_property
    def space(self) -> Space:
        """What was searched."""
        return Space.from_json(self.record.space)

    @cached_property
    def parameters(self) -> dict[str, list[Domain]]:
        """Every parameter that was searched, by name: what it may be, in each of the spaces."""
        domains: dict[str, list[Domain]] = {}
        for space in (self.space, *reversed(self.trials.spaces)):
            for parameter in space.parameters:
                domains.setdefault(parameter.name, []).append(parameter.domain)
        return domains

    @property
    def objective(self) -> Objective:
        """What was optimized."""
        return self.trials.objective

    @property
    def best(self) -> Trial | None:
        """The trial with the best value among those that neither failed nor diverged.

        With several objectives it is the one that the sweep's scalarization takes from the front.
        """
        if not self.objective.others:
            return self.trials.best
        return self.scalarization.choose(self.front, self.objective)

    @cached_property
    def front(self) -> list[Trial]:
        """With several objectives: the trials that none other beats in all of them."""
        return pareto_front(self.trials, self.objective) if self.objective.others else []

    @property
    def scalarization(self) -> Scalarization:
        """How one trial is taken from the front."""
        return Scalarization(**self.record.options.get("scalarization", {}))

    @property
    def is_over(self) -> bool:
        """Whether the sweep ended in order with nothing left to do; it can still be extended."""
        return self.trials.closed is not None and self.trials.closed.reason == "done"

    @property
    def max_t(self) -> int | None:
        """Steps of a full run, where the scheduler says so."""
        if self.record.options.get("fidelity"):
            return None
        return self.record.scheduler.get("max_t")

    def status(self, trial: Trial) -> Status:
        """Where a trial stands.

        One left paused at a rung when the sweep is over counts as stopped, though the journal
        leaves it open so that a longer sweep can go on with it, or as diverged where that is why it
        paused; one that ran when its driver ended counts as paused.
        """
        if trial.status is Status.PAUSED and self.is_over:
            return Status.DIVERGED if _diverged(trial) else Status.STOPPED
        if trial.status is Status.RUNNING and self.trials.closed is not None:
            return Status.PAUSED
        return trial.status

    def values(self, trial: Trial) -> dict[str, Any]:
        """A trial's parameters as the app saw them, by name: those of its best report."""
        return self.trials.values(trial, trial.best_params)

    def schedule(self, trial: Trial) -> list[tuple[int, dict[str, Any]]]:
        """What a trial's best model was trained with; see `Trials.schedule`."""
        return self.trials.schedule(trial)

    def ranked(self) -> list[Trial]:
        """All trials, best first; those that diverged, failed, or have no value yet come last.

        With several objectives the Pareto front comes first.
        """
        front = {trial.number for trial in self.front}
        return sorted(self.trials, key=lambda t: (t.number not in front, *self._rank(t)))

    def table(self) -> pa.Table:
        """One row a trial, by number."""
        import pyarrow as pa

        trials = list(self.trials)
        columns = self._trial_columns(trials)
        columns.update(self._parameter_columns(trials))
        for name in _metric_order({n for t in trials for n in t.metrics}, self.objective):
            returned = [_number(trial.metrics.get(name)) for trial in trials]
            columns[f"returned.{name}"] = pa.array(returned, pa.float64())
        return pa.table(columns).replace_schema_metadata(self._about)

    def metrics(self) -> pa.Table:
        """One row a report, by trial and step; one column a metric, empty where it is missing.

        A step has several where a trial trained it again from another trial's checkpoint: the
        earlier ones first. A metric called as one of the other columns is found under
        `metric.<name>`.
        """
        import pyarrow as pa

        reports = [report for t in self.trials for report in _by_step(t)]
        columns: dict[str, pa.Array] = {
            "trial": pa.array([r.trial for r in reports], pa.int64()),
            "run": pa.array([r.run for r in reports], pa.int64()),
            "step": pa.array([r.step for r in reports], pa.int64()),
            "time": _times(r.time for r in reports),
        }
        for name in _metric_order({n for r in reports for n in r.metrics}, self.objective):
            column = f"metric.{name}" if name in _METRICS_COLUMNS else name
            values = [_number(r.metrics.get(name)) for r in reports]
            columns[column] = pa.array(values, pa.float64())
        return pa.table(columns).replace_schema_metadata(self._about)

    def only(self, table: pa.Table, trials: Sequence[Trial]) -> pa.Table:
        """The rows of `table()` or `metrics()` that belong to these trials, in their order."""
        import pyarrow as pa

        column = table["number" if "number" in table.column_names else "trial"].to_pylist()
        place = {trial.number: i for i, trial in enumerate(trials)}
        rows = [i for i, number in enumerate(column) if number in place]
        rows.sort(key=lambda i: place[column[i]])
        return table.take(pa.array(rows, pa.int64()))

    def _rank(self, trial: Trial) -> tuple[bool, float, bool, int]:
        last = trial.value is None or trial.status in (Status.FAILED, Status.DIVERGED)
        loss = 0.0 if trial.value is None else self.objective.loss(trial.value)
        return last, loss, trial is not self.best, trial.number

    @property
    def _about(self) -> dict[str, str]:
        about = {"sweep": self.record.name, "metric": self.record.metric, "mode": self.record.mode}
        return {"caviar": json.dumps(about)}

    def _trial_columns(self, trials: Sequence[Trial]) -> dict[str, pa.Array]:
        import pyarrow as pa

        def column(value: Callable[[Trial], Any], kind: pa.DataType) -> pa.Array:
            return pa.array([value(trial) for trial in trials], kind)

        there = self.folder.finder()
        return {
            "number": column(lambda t: t.number, pa.int64()),
            "status": column(lambda t: self.status(t).value, pa.string()),
            "value": column(lambda t: _number(t.value), pa.float64()),
            **self._other_objectives(trials),
            "best_step": column(lambda t: t.best.step if t.best else None, pa.int64()),
            "step": column(lambda t: t.step, pa.int64()),
            "promotions": column(lambda t: t.promotions, pa.int64()),
            "losses": column(lambda t: t.losses, pa.int64()),
            "preemptions": column(lambda t: t.preemptions, pa.int64()),
            "exploits": column(lambda t: len(t.lineage), pa.int64()),
            "schedule": column(self._schedule, pa.string()),
            "retries": column(lambda t: len(t.failures), pa.int64()),
            "duration_s": column(lambda t: t.seconds, pa.float64()),
            "started": _times(t.started for t in trials),
            "ended": _times(t.ended for t in trials),
            "cause": column(lambda t: t.cause, pa.string()),
            "error": column(lambda t: headline(t.error), pa.string()),
            "checkpoint": column(lambda t: best_left(there, t), pa.string()),
        }

    def _other_objectives(self, trials: Sequence[Trial]) -> dict[str, pa.Array]:
        """One column an objective after the first, and whether the trial is on the front."""
        import pyarrow as pa

        if not self.objective.others:
            return {}
        front = {trial.number for trial in self.front}
        columns = {"pareto": pa.array([t.number in front for t in trials], pa.bool_())}
        for i, objective in enumerate(self.objective.others, start=1):
            values = [t.values[i] if t.values else None for t in trials]
            columns[f"value.{objective.metric}"] = pa.array(values, pa.float64())
        return columns

    def _schedule(self, trial: Trial) -> str | None:
        """As JSON, where parameters changed on the way to the trial's best model."""
        if len(trial.best_schedule) < 2:
            return None
        stretches = zip(trial.best_schedule, self.schedule(trial), strict=True)
        return json.dumps(
            [
                {"step": step, "trial": stretch.trial, "params": values}
                for stretch, (step, values) in stretches
            ]
        )

    def _parameter_columns(self, trials: Sequence[Trial]) -> dict[str, pa.Array]:
        values = [self.values(trial) for trial in trials]
        return {
            f"params.{name}": parameter_array(domains, [row.get(name) for row in values])
            for name, domains in self.parameters.items()
        }


def load_sweep(folder: SweepFolder | str | os.PathLike[str]) -> SweepResults:
    """Read a sweep's record and journal.

    Raises:
        SweepError: One of them is missing or cannot be read.
    """
    if not isinstance(folder, SweepFolder):
        folder = find_sweep(folder) if is_url(folder) else SweepFolder(Path(folder).resolve())
    record = Record.read(folder)
    trials = Trials(_objective(record))
    stopwatch = _Stopwatch()
    for event in _events(folder):
        trials.apply(event)
        stopwatch.apply(event)
    return SweepResults(
        folder=folder,
        record=record,
        trials=trials,
        elapsed=stopwatch.elapsed,
    )


class _Stopwatch:
    """Adds up the time of drivers from the events alone; one that died, up to its last."""

    def __init__(self) -> None:
        self.elapsed = 0.0
        self._last: float | None = None

    def apply(self, event: Event) -> None:
        if not isinstance(event, Opened) and self._last is not None:
            self.elapsed += max(0.0, event.time - self._last)
        self._last = event.time


def _objective(record: Record) -> Objective:
    at = cast(At, record.options.get("objective_at", "best"))
    metrics, modes = _listed(record.metric), cast(list[Mode], _listed(record.mode))
    first, *others = (
        Objective(metric=metric, mode=mode, at=at)
        for metric, mode in zip(metrics, modes, strict=True)
    )
    return replace(first, others=tuple(others))


def _listed(given: str | list[str]) -> list[str]:
    return given if isinstance(given, list) else [given]


def _events(folder: SweepFolder) -> Iterable[Event]:
    try:
        if not has_journal(folder):
            raise FileNotFoundError(folder.journal)
        yield from read_events(folder)
    except FileNotFoundError:
        raise SweepError(
            f"{folder.place} has no {folder.journal.name}: its sweep never began. "
            f"Delete the folder, or restore that file from a copy."
        ) from None


def _diverged(trial: Trial) -> bool:
    """Whether it paused since it diverged, and there was no other to go on from."""
    value = trial.last.value if trial.last is not None else None
    return value is not None and not math.isfinite(value)


def _by_step(trial: Trial) -> list[Reported]:
    return sorted([*trial.replaced, *trial.reports.values()], key=lambda r: r.step)


def _metric_order(names: Iterable[str], objective: Objective) -> list[str]:
    """The objective first, the others by name."""
    return sorted(names, key=lambda name: (name != objective.metric, name))


def _number(value: Any) -> float | None:
    return None if value is None else float(value)


def _times(times: Iterable[float | None]) -> pa.Array:
    import pyarrow as pa

    ms = [None if time is None else round(time * 1000) for time in times]
    return pa.array(ms, pa.timestamp("ms", tz="UTC"))
