"""The words for where a trial stands and what a scheduler says to it."""

from __future__ import annotations

from enum import StrEnum

BY_REQUEST = "request"
"""The cause of the end of a trial that somebody stopped."""


class Decision(StrEnum):
    """What a scheduler says to a report."""

    CONTINUE = "continue"
    PAUSE = "pause"
    STOP = "stop"
    COMPLETE = "complete"


class Status(StrEnum):
    """Where a trial stands."""

    RUNNING = "running"
    PAUSED = "paused"
    STOPPED = "stopped"
    COMPLETE = "complete"
    DIVERGED = "diverged"
    FAILED = "failed"

    @property
    def is_final(self) -> bool:
        """Whether the trial has ended for good."""
        return self not in (Status.RUNNING, Status.PAUSED)
