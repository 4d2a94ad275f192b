"""What a scheduler is: a pure policy over reports, without Ray, clock or file."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from sweeps.status import Decision


@dataclass(frozen=True, kw_only=True)
class Observation:
    """A report as a scheduler sees it."""

    trial: int
    step: int
    loss: float
    """Less is better, whatever the objective's mode; `inf` for what is not finite."""
    resumable: bool
    """Whether a checkpoint came with it: without one the trial cannot be paused."""

    @property
    def diverged(self) -> bool:
        """Whether the objective was NaN or infinite."""
        return not math.isfinite(self.loss)


@dataclass(frozen=True)
class Promote:
    """Go on with a paused trial."""

    trial: int


class Start:
    """Start a new configuration."""


class Wait:
    """Nothing to do until another report comes."""


class Done:
    """Nothing more will come."""


Next = Promote | Start | Wait | Done


class Scheduler(ABC):
    """Decides which trials go on.

    Its state is a replay: the same calls in the same order give the same scheduler, so a resumed
    sweep calls `on_start`, `on_reports` and `on_end` for what its journal holds. `next` changes
    nothing.
    """

    @abstractmethod
    def on_start(self, trial: int) -> None:
        """A segment of the trial begins: it is new, promoted, or goes on after a crash."""

    @abstractmethod
    def on_reports(self, observations: Sequence[Observation]) -> list[Decision]:
        """Decide on reports; one decision each, in order.

        A step that a trial reports again, after a crash, must not count twice.
        """

    @abstractmethod
    def on_end(self, trial: int) -> None:
        """The trial ended for good, by itself or by failure; it is never promoted again."""

    @abstractmethod
    def next(self, *, can_start: bool, running: int) -> Next:
        """What a free slot should do.

        Args:
            can_start: Whether the sweep's budget allows a new configuration.
            running: Trials that run in other slots now.
        """

    def rungs(self) -> list[int]:
        """The steps at which trials are compared, for the sweep's first lines."""
        return []
