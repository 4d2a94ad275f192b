"""What was made of a sweep, kept until the sweep has changed, and made again at a fair pace."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from threading import Lock
from typing import Any, TypeVar

from sweeps.results import SweepResults
from sweeps.ui.live import LiveSweep

T = TypeVar("T")

_SHARE = 0.2
"""Of the time at most so much is spent on making one thing again and again."""

_KEPT = 32


@dataclass(frozen=True)
class _Made:
    value: Any
    version: int
    until: float
    """Before this moment it is not made again, even if the sweep has changed."""


class Keeper:
    """Makes things of sweeps: each once a change, and less often the longer it takes."""

    def __init__(self) -> None:
        self._made: OrderedDict[Hashable, _Made] = OrderedDict()
        self._lock = Lock()

    def get(self, live: LiveSweep, what: Hashable, make: Callable[[SweepResults], T]) -> T:
        """What `make` makes of a sweep, as it is now or was a moment ago.

        Raises:
            SweepError: The sweep cannot be read.
        """
        key = (live, what)
        with live.reading() as sweep:
            made = self._made.get(key)
            now = time.monotonic()
            if made is None or (made.version != live.version and now >= made.until):
                value = make(sweep)
                took = time.monotonic() - now
                made = _Made(value, live.version, now + took / _SHARE)
                self._keep(key, made)
            value_: T = made.value
            return value_

    def often(self, what: Hashable, make: Callable[[], T]) -> T:
        """What `make` makes, made again each time but for the pace."""
        made = self._made.get(what)
        now = time.monotonic()
        if made is None or now >= made.until:
            value = make()
            made = _Made(value, 0, now + (time.monotonic() - now) / _SHARE)
            self._keep(what, made)
        value_: T = made.value
        return value_

    def _keep(self, key: Hashable, made: _Made) -> None:
        with self._lock:
            self._made[key] = made
            self._made.move_to_end(key)
            while len(self._made) > _KEPT:
                self._made.popitem(last=False)
