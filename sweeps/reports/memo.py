"""What several plots of one sweep are drawn from is worked out once."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from functools import wraps
from typing import TypeVar

from sweeps.results import SweepResults

T = TypeVar("T")


def once(make: Callable[[SweepResults], T]) -> Callable[[SweepResults], T]:
    """Keep what a function made of the last sweep that it was given, as long as that lives."""
    last: list[tuple[weakref.ref[SweepResults], T]] = []

    @wraps(make)
    def made(sweep: SweepResults) -> T:
        for of, result in last:
            if of() is sweep:
                return result
        result = make(sweep)
        last[:] = [(weakref.ref(sweep), result)]
        return result

    return made
