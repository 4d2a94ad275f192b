"""What Slurm asks of a job by signals, as a question that its loop asks."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from enum import Enum, auto
from types import FrameType


class Wish(Enum):
    """What a job is asked to do."""

    LEAVE = auto()
    """SIGUSR1: its time is nearly up."""
    STOP = auto()
    """SIGINT from a user, SIGTERM from Slurm, which kills half a minute later."""


class Wishes:
    """The last wish, if any; a stop stands."""

    def __init__(self) -> None:
        self.last: Wish | None = None
        self.number: int | None = None
        """The signal that brought it."""

    def note(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal."""
        if self.last is not Wish.STOP:
            self.number = number
            self.last = Wish.LEAVE if number == signal.SIGUSR1 else Wish.STOP


@contextlib.contextmanager
def heard() -> Iterator[Wishes]:
    """Note the signals instead of dying of them."""
    wishes = Wishes()
    numbers = (signal.SIGUSR1, signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, wishes.note) for number in numbers}
    try:
        yield wishes
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
