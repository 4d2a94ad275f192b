"""ASHA with promotion: asynchronous successive halving as in the paper.

Li et al., "A System for Massively Parallel Hyperparameter Tuning", MLSys 2020, algorithm 2.
"""

from __future__ import annotations

import bisect
import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sweeps.schedulers.base import Done, Next, Observation, Promote, Scheduler, Start, Wait
from sweeps.status import Decision


@dataclass
class _Rung:
    """The trials that reached one step, ranked by (loss, number)."""

    step: int
    ranked: list[tuple[float, int]] = field(default_factory=list)
    losses: dict[int, float] = field(default_factory=dict)
    waiting: list[tuple[float, int]] = field(default_factory=list)
    """A heap of the trials that may still be promoted, and of some that no longer may."""
    gone: set[int] = field(default_factory=set)
    """Promoted from here, or ended."""

    def add(self, trial: int, loss: float) -> None:
        entry = (loss, trial)
        bisect.insort(self.ranked, entry)
        self.losses[trial] = loss
        heapq.heappush(self.waiting, entry)

    def rank(self, trial: int) -> int:
        """How many trials at this rung are better."""
        return bisect.bisect_left(self.ranked, (self.losses[trial], trial))

    def promotable(self, reduction_factor: int) -> int | None:
        """The best trial not yet promoted, if it is among the top 1/reduction_factor."""
        while self.waiting and self.waiting[0][1] in self.gone:
            heapq.heappop(self.waiting)
        if not self.waiting:
            return None
        trial = self.waiting[0][1]
        return trial if self.rank(trial) < len(self.ranked) // reduction_factor else None


class Asha(Scheduler):
    """Pauses each trial at each rung; a free slot promotes the best of the highest rung it can.

    Rungs stand at `grace_period * reduction_factor**k` steps, below `max_t`, and the top one at
    `max_t`. A trial is promotable when it is among the best `1/reduction_factor` of all that ever
    reached its rung. No slot waits for a bracket to fill: what cannot promote starts a new
    configuration. A trial that diverged ranks last at the next rung it would have reached. A trial
    without checkpoints cannot pause: it goes on at once if it is promotable on arrival, and is
    stopped otherwise.

    Args:
        max_t: Steps after which a trial is complete.
        grace_period: Steps of the first rung.
        reduction_factor: One in how many goes on from a rung (eta in the paper).
    """

    extends = True

    def __init__(self, *, max_t: int, grace_period: int = 1, reduction_factor: int = 3) -> None:
        if grace_period < 1:
            raise ValueError(f"grace_period is {grace_period}; it must be 1 or more")
        if reduction_factor < 2:
            raise ValueError(f"reduction_factor is {reduction_factor}; it must be 2 or more")
        if max_t < grace_period:
            raise ValueError(f"max_t is {max_t}; it must be at least grace_period, {grace_period}")
        self.max_t: int = max_t
        self.reduction_factor = reduction_factor
        self._rungs = [_Rung(step) for step in _levels(max_t, grace_period, reduction_factor)]
        self._next_rung: dict[int, int] = {}
        """By trial: the index of the rung that it has not reached yet."""

    def rungs(self) -> list[int]:
        """The steps of the rungs and `max_t`."""
        return [*(rung.step for rung in self._rungs), self.max_t]

    def milestone(self, trial: int) -> int:
        """The rung that the trial reaches next."""
        return self.rungs()[self._next_rung[trial]]

    def on_start(self, trial: int, params: Mapping[str, Any]) -> None:
        """Note a new trial, or a promotion."""
        reached = self._next_rung.setdefault(trial, 0)
        if reached:
            self._rungs[reached - 1].gone.add(trial)

    def on_reports(self, observations: Sequence[Observation]) -> list[Decision]:
        """Pause at a rung, complete at `max_t`."""
        return [self._on_report(observation) for observation in observations]

    def _on_report(self, seen: Observation) -> Decision:
        if seen.diverged:
            self._enter(seen, upto=self._next_rung[seen.trial] + 1)
            return Decision.STOP
        if seen.step >= self.max_t:
            self._enter(seen, upto=len(self._rungs))
            return Decision.COMPLETE
        reached = bisect.bisect_right([rung.step for rung in self._rungs], seen.step)
        if not self._enter(seen, upto=reached):
            return Decision.CONTINUE
        if seen.resumable:
            return Decision.PAUSE
        rung = self._rungs[reached - 1]
        promoted = rung.rank(seen.trial) < len(rung.ranked) // self.reduction_factor
        rung.gone.add(seen.trial)
        return Decision.CONTINUE if promoted else Decision.STOP

    def _enter(self, seen: Observation, *, upto: int) -> bool:
        """Rank the trial at every rung it has newly reached, below index `upto`."""
        new = self._rungs[self._next_rung[seen.trial] : upto]
        for rung in new:
            rung.add(seen.trial, seen.loss)
        for rung in new[:-1]:
            rung.gone.add(seen.trial)
        self._next_rung[seen.trial] += len(new)
        return bool(new)

    def on_end(self, trial: int) -> None:
        """Take the trial out of what may be promoted; its ranks stay."""
        reached = self._next_rung.get(trial, 0)
        if reached:
            self._rungs[reached - 1].gone.add(trial)

    def next(self, *, can_start: bool, running: int) -> Next:
        """Promote from the highest rung that can, else start, else wait."""
        for rung in reversed(self._rungs):
            trial = rung.promotable(self.reduction_factor)
            if trial is not None:
                return Promote(trial)
        if can_start:
            return Start()
        return Wait() if running else Done()


def _levels(max_t: int, grace_period: int, reduction_factor: int) -> list[int]:
    levels = []
    step = grace_period
    while step < max_t:
        levels.append(step)
        step *= reduction_factor
    return levels
