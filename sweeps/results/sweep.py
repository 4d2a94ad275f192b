"""A sweep as a reader sees it, from its record and its journal alone.

    sweep = load_sweep(find_sweep("mnist"))
    sweep.table().to_pandas()

Works while the sweep runs as well as after it, and changes nothing in its folder.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cluster.bucket import is_url
from sweeps.errors import SweepError
from sweeps.journal.events import Event
from sweeps.journal.objective import Objective
from sweeps.journal.pareto import Scalarization, pareto_front
from sweeps.journal.segments import has_journal, read_events
from sweeps.journal.status import Status
from sweeps.journal.trials import Trial, Trials
from sweeps.results.fold import Fold
from sweeps.space.domains import Domain
from sweeps.space.space import Space
from sweeps.storage.folder import Record, SweepFolder, find_sweep

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, kw_only=True)
class SweepResults:
    """A sweep as its record and its journal tell it."""

    folder: SweepFolder
    record: Record
    trials: Trials
    elapsed: float
    """How long drivers have run the sweep, the time between them not counted."""
    events: int
    """How many events its journal held."""

    @classmethod
    def of(cls, folder: SweepFolder, record: Record, fold: Fold) -> SweepResults:
        """A sweep whose journal is folded."""
        return cls(
            folder=folder,
            record=record,
            trials=fold.trials,
            elapsed=fold.elapsed,
            events=fold.events,
        )

    @cached_property
    def space(self) -> Space:
        """What was searched."""
        return Space.from_json(self.record.space)

    @cached_property
    def parameters(self) -> dict[str, list[Domain]]:
        """Every parameter that was searched, by name: what it may be, where spaces differ each."""
        domains: dict[str, list[Domain]] = {}
        for space in (self.space, *reversed(self.trials.spaces)):
            for parameter in space.parameters:
                known = domains.setdefault(parameter.name, [])
                if parameter.domain not in known:
                    known.append(parameter.domain)
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
    def num_samples(self) -> int:
        """How many trials there are to be, with what was asked of it as it ran."""
        return self.trials.steered.total(self.record.num_samples)

    @property
    def is_over(self) -> bool:
        """Whether the sweep ended in order with nothing left to do; it can still be extended."""
        return self.trials.closed is not None and self.trials.closed.reason == "done"

    @property
    def repeats(self) -> int:
        """How many runs a trial is."""
        return int(self.record.options.get("repeats", 1))

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
        """One row a trial, by number; the columns are those of `sweeps.results.schema`."""
        from sweeps.results.tables import trials_table

        return trials_table(self)

    def metrics(self) -> pa.Table:
        """One row a report, by trial and step."""
        from sweeps.results.tables import metrics_table

        return metrics_table(self)

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


def load_sweep(folder: SweepFolder | str | os.PathLike[str]) -> SweepResults:
    """Read a sweep's record and journal.

    Raises:
        SweepError: One of them is missing or cannot be read.
    """
    if not isinstance(folder, SweepFolder):
        folder = find_sweep(folder) if is_url(folder) else SweepFolder(Path(folder).resolve())
    record = Record.read(folder)
    fold = Fold(record)
    for event in _events(folder):
        fold.apply(event)
    return SweepResults.of(folder, record, fold)


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
