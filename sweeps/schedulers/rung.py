"""Rungs: who reached a step, ranked, and who may be promoted from there."""

from __future__ import annotations

import bisect
import heapq
import math
from collections.abc import Sequence

from sweeps.schedulers.base import Observation


class Rung:
    """The trials that reached one step, ranked by (loss, number)."""

    def __init__(self, step: int) -> None:
        self.step = step
        self._ranked: list[tuple[float, int]] = []
        self._losses: dict[int, float] = {}
        self._waiting: list[tuple[float, int]] = []
        """A heap of the trials that may still be promoted, and of some that no longer may."""
        self._gone: set[int] = set()
        """Promoted from here, or ended."""

    def __len__(self) -> int:
        return len(self._ranked)

    def add(self, trial: int, loss: float) -> None:
        """Rank a trial; it waits here."""
        bisect.insort(self._ranked, (loss, trial))
        self._losses[trial] = loss
        self.wait(trial)

    def wait(self, trial: int) -> None:
        """A trial that is ranked here may be promoted, though it left before."""
        self._gone.discard(trial)
        heapq.heappush(self._waiting, (self._losses[trial], trial))

    def leave(self, trial: int) -> None:
        """The trial went on, or ended; its rank stays."""
        self._gone.add(trial)

    def withdraw(self, trial: int) -> None:
        """The trial waits here no more, and has no rank; one that has left keeps it."""
        if trial not in self._gone:
            self._ranked.remove((self._losses[trial], trial))
            self.leave(trial)

    def rank(self, trial: int) -> int:
        """How many trials at this rung are better."""
        return bisect.bisect_left(self._ranked, (self._losses[trial], trial))

    def promotable(self, top: int) -> int | None:
        """The best trial that waits here, if it is among the best `top`."""
        while self._waiting and self._waiting[0][1] in self._gone:
            heapq.heappop(self._waiting)
        if not self._waiting:
            return None
        trial = self._waiting[0][1]
        return trial if self.rank(trial) < top else None


class Ladder:
    """Rungs below a last step, which trials climb one by one.

    Args:
        steps: Ascending; at the last one a trial is complete.
    """

    def __init__(self, steps: Sequence[int]) -> None:
        self.steps = list(steps)
        self.max_t = self.steps[-1]
        self.rungs = [Rung(step) for step in self.steps[:-1]]
        self._next: dict[int, int] = {}
        """By trial: the index of the rung that it has not reached yet."""

    def next_rung(self, trial: int) -> int:
        """The index of the step that the trial has not reached yet."""
        return self._next[trial]

    def milestone(self, trial: int) -> int:
        """The step up to which the trial trains now."""
        return self.steps[self._next[trial]]

    def start(self, trial: int) -> None:
        """The trial sets out for its next rung: it is new, promoted, or goes on after a crash."""
        reached = self._next.setdefault(trial, 0)
        if reached:
            self.rungs[reached - 1].leave(trial)

    def climb(self, seen: Observation) -> Rung | None:
        """Rank a trial at every rung that it has newly reached, and give the highest of them.

        One that diverged ranks last at the next rung that it would have reached.
        """
        reached = bisect.bisect_right(self.steps, seen.step, hi=len(self.rungs))
        if seen.diverged:
            reached = self._next[seen.trial] + 1
        new = self.rungs[self._next[seen.trial] : reached]
        for rung in new:
            rung.add(seen.trial, seen.loss)
        for rung in new[:-1]:
            rung.leave(seen.trial)
        self._next[seen.trial] += len(new)
        return new[-1] if new else None

    def fail(self, trial: int) -> None:
        """Rank a trial that ended on the way last at the rung that it would have reached."""
        for rung in self.rungs[self._next[trial] :][:1]:
            rung.add(trial, math.inf)
            self._next[trial] += 1

    def end(self, trial: int) -> None:
        """Take the trial out of what may be promoted; its ranks stay."""
        reached = self._next.get(trial, 0)
        if reached:
            self.rungs[reached - 1].leave(trial)

    def withdraw(self, trial: int) -> None:
        """As `end`, but where it waits to be promoted the others are ranked without it."""
        reached = self._next.get(trial, 0)
        if reached:
            self.rungs[reached - 1].withdraw(trial)

    def reopen(self, trial: int) -> None:
        """The trial was complete at a lower `max_t`: it waits at the rung that it reached last."""
        reached = self._next[trial]
        if reached:
            self.rungs[reached - 1].wait(trial)


def levels(max_t: int, grace_period: int, reduction_factor: int) -> list[int]:
    """The steps `grace_period * reduction_factor**k` below `max_t`, and `max_t`.

    A step so high that the way on to `max_t` is nearer than half a rung, as ratios go, is left out:
    most of what is almost complete would be given up there, for little.

    Raises:
        ValueError: An option is out of bounds.
    """
    check(max_t, grace_period, reduction_factor)
    steps: list[int] = []
    step = grace_period
    while step < max_t and (not steps or step * math.sqrt(reduction_factor) <= max_t):
        steps.append(step)
        step *= reduction_factor
    return [*steps, max_t]


def check(max_t: int, grace_period: int, reduction_factor: int) -> None:
    """See that the options that lay rungs are within bounds.

    Raises:
        ValueError: One is not.
    """
    if grace_period < 1:
        raise ValueError(f"grace_period is {grace_period}; it must be 1 or more")
    if reduction_factor < 2:
        raise ValueError(f"reduction_factor is {reduction_factor}; it must be 2 or more")
    if max_t < grace_period:
        raise ValueError(f"max_t is {max_t}; it must be at least grace_period, {grace_period}")
