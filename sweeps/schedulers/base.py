"""What a scheduler is: a pure policy over reports, without Ray, clock or file."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sweeps.journal.status import Decision


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


@dataclass(frozen=True, kw_only=True)
class Exploit:
    """A trial goes on from another's newest checkpoint, with parameters of its own."""

    source: int
    params: Mapping[str, Any]
    """All of them: Optuna's external values by Optuna's name."""


@dataclass(frozen=True)
class Promote:
    """Go on with a paused trial."""

    trial: int
    exploit: Exploit | None = None
    """Where it does not go on from its own checkpoint."""


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
    nothing. What it draws at random comes from a generator seeded by (sweep seed, trial, step).
    """

    max_t: int | None = None
    """Steps after which a trial is complete; None where trials run to their own end."""
    extends: bool = False
    """Whether `max_t` may be raised while a sweep goes on."""
    judges_between_rungs: bool = True
    """Whether a report that is at none of the `rungs`, and finite, may pause or end its trial."""
    without_checkpoint: str | None = None
    """What becomes of a trial that cannot pause where it should, for want of a checkpoint, in words
    for the user; None where no trial ever pauses."""

    @abstractmethod
    def on_start(self, trial: int, params: Mapping[str, Any]) -> None:
        """A segment of the trial begins: it is new, promoted, or goes on after a crash.

        Args:
            trial: Which.
            params: Its parameters from here on: Optuna's external values by Optuna's name.
        """

    def on_exploit(self, trial: int, params: Mapping[str, Any], *, source: int, step: int) -> None:
        """A segment begins that this scheduler ordered by `Exploit`.

        Args:
            trial: Which.
            params: Its parameters from here on.
            source: The trial whose checkpoint it goes on from.
            step: Of that checkpoint. The trial's own reports beyond it are no longer its history.
        """
        self.on_start(trial, params)

    @abstractmethod
    def on_reports(self, observations: Sequence[Observation]) -> list[Decision]:
        """Decide on reports; one decision each, in order.

        A step that a trial reports again, after a crash, must not count twice.
        """

    @abstractmethod
    def on_end(self, trial: int) -> None:
        """The trial ended for good, by itself or by failure; it is never promoted again."""

    def on_withdraw(self, trial: int) -> None:
        """The trial was stopped by request: it ended for good, and not for what it reported.

        Called in the place of `on_end`. Where it waited among others, they stand as without it.
        """
        self.on_end(trial)

    def on_reopen(self, trial: int) -> None:
        """The trial was complete at a `max_t` that has been raised since, and may be promoted.

        Called in the place of `on_end`, so a scheduler that `extends` has its own.
        """
        self.on_end(trial)

    @abstractmethod
    def next(self, *, can_start: bool, running: int) -> Next:
        """What a free slot should do.

        Args:
            can_start: Whether the sweep's budget allows a new configuration.
            running: Trials that run in other slots now.
        """

    def rungs(self) -> list[int]:
        """The steps at which trials may pause or are compared, ascending, and `max_t`."""
        return []

    def describe(self) -> str:
        """What becomes of a trial, in a few words that follow `64 trials, `."""
        steps = ", ".join(map(str, self.rungs()))
        return f"compared at steps {steps}" if steps else "each to its end"

    def milestone(self, trial: int) -> int | None:
        """The step up to which the segment that now begins is to train; None if not laid down.

        Without it the scheduler cannot serve a fidelity other than the step.
        """
        return None
