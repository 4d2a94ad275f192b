"""What a tracker does: it shows a sweep, and each of its trials as a run."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from sweeps.journal.objective import Objective
from sweeps.journal.status import Status


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """What is told of a sweep as a whole."""

    id: str
    """Its own among all sweeps of that name."""
    name: str
    app: str
    """A short name of the app."""
    objective: Objective
    config: Mapping[str, Any]
    """What was asked: searcher, scheduler, seed, fixed overrides; secrets are masked."""


@dataclass(frozen=True, kw_only=True)
class Point:
    """Metrics of a trial at a step."""

    step: int
    time: float
    metrics: Mapping[str, float]
    repeats: bool = False
    """Whether the trial has been at that step, or beyond it, before."""
    returned: bool = False
    """Whether the task function returned them; else it reported them."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """Where a trial stands, for its run in a tracker."""

    number: int
    params: Mapping[str, Any]
    """What it began with: numbers, booleans and text."""
    status: Status
    started: float
    ended: float | None = None
    step: int = 0
    """The highest that it came to."""
    best_step: int | None = None
    values: Mapping[str, float] = field(default_factory=dict)
    """By objective: the trial's value, once it has one."""
    best_params: Mapping[str, Any] = field(default_factory=dict)
    """Where parameters changed on the way: those of its best report."""
    cause: str | None = None
    error: str | None = None
    """In one line."""

    @property
    def name(self) -> str:
        """What users see."""
        return f"trial {self.number}"

    @property
    def went_wrong(self) -> bool:
        """Whether it gave no result."""
        return self.status in (Status.FAILED, Status.DIVERGED)


@dataclass(frozen=True, kw_only=True)
class Ending:
    """How a sweep ended, for now."""

    is_done: bool
    time: float
    trials: int
    best_trial: int | None
    values: Mapping[str, float]
    """Of its best trial, by objective."""


class Tracker(Protocol):
    """Shows a sweep in one place. Called by one thread; any call may raise, and is made again.

    What is sent twice must change nothing where that is in its hands: after an error nobody knows
    what arrived.
    """

    def open(self, sweep: Sweep) -> None:
        """Connect; called again after an error, when all handles are to be taken anew."""

    def begin(self, run: Run, known: str | None) -> str:
        """Begin a trial's run, or go on with the one of that identity; its identity."""

    def log(self, run: Run, points: Sequence[Point]) -> None:
        """Add points to a run that was begun."""

    def settle(self, run: Run) -> None:
        """Show how a run that was begun has paused or ended."""

    def close(self, ending: Ending | None) -> None:
        """End in order; without an ending the sweep's driver has died."""


def shown(value: Any) -> bool | int | float | str:
    """A parameter's value as trackers take it: lists and mappings as JSON."""
    if isinstance(value, bool | int | float | str):
        return value
    return json.dumps(value)
