"""Hears what the first trials use, and says once what would fit."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from sweeps.journal.status import Status
from sweeps.journal.trials import Trial
from sweeps.planning.resources import Resources
from sweeps.usage.advice import advice, is_enough
from sweeps.usage.measured import LOOKED_AT, Usage

_TRIALS = 3
_SECONDS = 15.0
"""Of these trials together; of a sweep whose first trials end sooner, what there is of them."""


class Advisor:
    """Of one run of a sweep."""

    def __init__(self, each: Resources, say: Callable[[Iterable[str]], None]) -> None:
        self._each = each
        self._say = say
        self._usages: dict[int, Usage] = {}
        self._settled: set[int] = set()
        self._told = False

    def take(self, trial: Trial, usage: Usage) -> None:
        """What a trial used so far; of its segments the one that was measured longest counts."""
        known = self._usages.get(trial.number)
        if known is None or known.seconds <= usage.seconds:
            self._usages[trial.number] = usage
        if trial.status is not Status.RUNNING:
            self._settled.add(trial.number)
        if self._is_ready():
            self.tell()

    def tell(self) -> None:
        """Say it, unless that is done, or too little was seen."""
        usages = list(self._usages.values())
        if not self._told and is_enough(usages):
            self._told = True
            self._say(advice(usages, self._each))

    def _is_ready(self) -> bool:
        if len(self._settled) == LOOKED_AT:
            return True
        seconds = sum(usage.seconds for usage in self._usages.values())
        return len(self._usages) >= _TRIALS and seconds >= _SECONDS
