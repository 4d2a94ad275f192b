"""SIGINT and SIGTERM as a question that a training asks: whether to stop."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

log = logging.getLogger(__name__)


class Stop:
    """Whether a signal has asked the training to stop."""

    def __init__(self) -> None:
        self._asked = False

    def __call__(self) -> bool:
        """Whether to stop."""
        return self._asked

    def ask(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal; the second one ends the program at once.

        Raises:
            KeyboardInterrupt: It is the second.
        """
        if self._asked:
            raise KeyboardInterrupt
        self._asked = True
        log.warning("%s: saving a checkpoint; once more to end now", signal.Signals(number).name)


@contextmanager
def stop_at_signals() -> Iterator[Stop]:
    """Turn SIGINT and SIGTERM into a question that a trainer asks after each step."""
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {number: signal.signal(number, stop.ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
