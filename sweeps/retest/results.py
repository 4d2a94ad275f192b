"""What a retest found, read from its roster and its journal: during it as well as after it.

retest = read_retest(find_sweep("mnist"))
retest.best.mean
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from sweeps.journal.objective import Objective
from sweeps.journal.segments import has_journal
from sweeps.journal.status import Status
from sweeps.journal.trials import Trial
from sweeps.results import SweepResults, load_sweep
from sweeps.retest.roster import Entry, Roster
from sweeps.retest.statistics import Losses, chances, mean_interval
from sweeps.storage.folder import SweepFolder

_OPEN = (Status.RUNNING, Status.PAUSED)


@dataclass(frozen=True, kw_only=True)
class Run:
    """One configuration trained with one seed."""

    trial: int
    """The retest's."""
    seed: int
    """The seed of it; where the app's config has none, only its number."""
    status: Status
    value: float | None
    """The objective; None where it has not ended, failed or diverged."""


@dataclass(frozen=True, kw_only=True)
class Configuration:
    """One of the sweep's best, and how it did with other seeds."""

    entry: Entry
    """What the sweep says of it."""
    runs: tuple[Run, ...]
    """Those that have begun."""
    chance: float | None
    """That its mean over all seeds is the best of those retested; None where it cannot be told."""
    behind: float | None
    """How much worse its mean is than the best one's, over the seeds that both have."""
    behind_interval: tuple[float, float] | None

    @property
    def trial(self) -> int:
        """Its number in the sweep."""
        return self.entry.trial

    @cached_property
    def values(self) -> list[float]:
        """The objective of each run that gave one."""
        return [run.value for run in self.runs if run.value is not None]

    @property
    def mean(self) -> float | None:
        """Over the runs that gave a value."""
        return statistics.fmean(self.values) if self.values else None

    @property
    def spread(self) -> float | None:
        """The standard deviation over seeds (n - 1 in the denominator); None of one run."""
        return float(np.std(self.values, ddof=1)) if len(self.values) > 1 else None

    @cached_property
    def interval(self) -> tuple[float, float] | None:
        """Of the mean; see `statistics.mean_interval`. None of one run."""
        return mean_interval(self.values)

    def lost(self, status: Status) -> int:
        """How many runs failed, or diverged."""
        return sum(run.status is status for run in self.runs)


@dataclass(frozen=True, kw_only=True)
class Retest:
    """What a retest found so far."""

    folder: SweepFolder
    """Its own, within the sweep's."""
    objective: Objective
    """The sweep's; with several objectives the first, by which it compares."""
    roster: Roster
    configurations: tuple[Configuration, ...]
    """Best mean first; those without a value last."""
    max_t: int | None
    """Steps of every run, where the sweep laid that down."""
    elapsed: float
    """How long it has run, in seconds."""

    @property
    def best(self) -> Configuration | None:
        """The one with the best mean."""
        first = next(iter(self.configurations), None)
        return first if first is not None and first.values else None

    @cached_property
    def winner(self) -> Configuration:
        """The one that the sweep held for the best, of those here."""
        return min(
            self.configurations,
            key=lambda c: (self.objective.loss(c.entry.value), c.trial),
        )

    @property
    def tied(self) -> list[int]:
        """The other trials whose mean is the best one's."""
        best = self.best
        if best is None:
            return []
        same = (c for c in self.configurations if c.mean == best.mean)
        return sorted(c.trial for c in same if c is not best)

    @property
    def is_paired(self) -> bool:
        """Whether configurations share their seeds."""
        return self.roster.is_paired

    @property
    def total(self) -> int:
        """How many runs there are to be."""
        return len(self.roster.runs)

    @property
    def ended(self) -> int:
        """How many have ended, failed ones too."""
        return sum(run.status not in _OPEN for c in self.configurations for run in c.runs)

    @property
    def is_done(self) -> bool:
        """Whether all have ended."""
        return self.ended == self.total


def read_retest(folder: SweepFolder) -> Retest | None:
    """The retest of a sweep; None where there is none.

    Raises:
        SweepError: What is there cannot be read.
    """
    inner = folder.retests
    roster = Roster.read(inner)
    if roster is None:
        return None
    inner.pull(inner.sweep_yaml)
    if not inner.sweep_yaml.exists() or not has_journal(inner):
        return None  # it was cut short before its first run
    return _retest(load_sweep(inner), roster)


def _retest(sweep: SweepResults, roster: Roster) -> Retest:
    losses = np.full((len(roster.entries), len(roster.seeds)), math.nan)
    runs: list[list[Run]] = [[] for _ in roster.entries]
    for trial in sweep.trials:
        entry, seed = roster.runs[trial.number]
        run = _run(sweep, trial, roster.seeds[seed])
        runs[entry].append(run)
        if run.value is not None:
            losses[entry, seed] = sweep.objective.loss(run.value)
    return Retest(
        folder=sweep.folder,
        objective=sweep.objective,
        roster=roster,
        configurations=tuple(_configurations(roster, runs, losses, sweep.objective)),
        max_t=sweep.max_t,
        elapsed=sweep.elapsed,
    )


def _run(sweep: SweepResults, trial: Trial, seed: int) -> Run:
    status = sweep.status(trial)
    ended = status in (Status.COMPLETE, Status.STOPPED)
    finite = trial.value is not None and math.isfinite(trial.value)
    value = trial.value if ended and finite else None
    return Run(trial=trial.number, seed=seed, status=status, value=value)


def _configurations(
    roster: Roster, runs: Sequence[Sequence[Run]], losses: Losses, objective: Objective
) -> list[Configuration]:
    """All of them, best mean first; of equal ones the better in the sweep."""
    has_value = [bool(np.isfinite(row).any()) for row in losses]
    means = [
        statistics.fmean(row[np.isfinite(row)]) if there else math.inf
        for row, there in zip(losses, has_value, strict=True)
    ]
    swept = [(objective.loss(entry.value), entry.trial) for entry in roster.entries]
    order = sorted(range(len(means)), key=lambda i: (means[i], *swept[i]))
    shares = _chances(losses, has_value, paired=roster.is_paired)
    return [
        Configuration(
            entry=roster.entries[i],
            runs=tuple(runs[i]),
            chance=shares.get(i),
            **_behind(losses[i], losses[order[0]], paired=roster.is_paired and i != order[0]),
        )
        for i in order
    ]


def _chances(losses: Losses, has_value: Sequence[bool], *, paired: bool) -> Mapping[int, float]:
    """By configuration, of those that have a value."""
    there = [i for i, has in enumerate(has_value) if has]
    found = chances(losses[there], paired=paired) if len(there) > 1 else None
    return {} if found is None else dict(zip(there, found, strict=True))


def _behind(row: Losses, best: Losses, *, paired: bool) -> dict[str, Any]:
    """How far it is behind the best, seed by seed."""
    gaps = (row - best)[np.isfinite(row - best)]
    if not paired or not len(gaps):
        return {"behind": None, "behind_interval": None}
    return {"behind": float(gaps.mean()), "behind_interval": mean_interval(gaps.tolist())}
