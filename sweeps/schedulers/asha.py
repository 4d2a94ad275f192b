"""ASHA with promotion: asynchronous successive halving as in the paper.

Li et al., "A System for Massively Parallel Hyperparameter Tuning", MLSys 2020, algorithm 2.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sweeps.journal.status import Decision
from sweeps.schedulers.base import Done, Next, Observation, Promote, Scheduler, Start, Wait
from sweeps.schedulers.rung import Ladder, levels


class Asha(Scheduler):
    """Pauses each trial at each rung; a free slot promotes the best of the highest rung it can.

    Rungs stand at `grace_period * reduction_factor**k` steps and, at the top, at `max_t`; one just
    below `max_t` is left out, see `levels`. A trial is promotable when it is among the best
    `1/reduction_factor` of all that ever reached its rung. No slot waits for a bracket to fill:
    what cannot promote starts a new configuration. A trial that diverged ranks last at the next
    rung it would have reached. A trial without checkpoints cannot pause: it goes on at once if it
    is promotable on arrival, and is stopped otherwise.

    Args:
        max_t: Steps after which a trial is complete.
        grace_period: Steps of the first rung.
        reduction_factor: One in how many goes on from a rung (eta in the paper).
    """

    extends = True
    judges_between_rungs = False
    without_checkpoint = "goes on where it is promotable at once, and is stopped otherwise"

    def __init__(self, *, max_t: int, grace_period: int = 1, reduction_factor: int = 3) -> None:
        self._ladder = Ladder(levels(max_t, grace_period, reduction_factor))
        self.max_t: int = max_t
        self.reduction_factor = reduction_factor

    def rungs(self) -> list[int]:
        """The steps of the rungs and `max_t`."""
        return list(self._ladder.steps)

    def milestone(self, trial: int) -> int:
        """The rung that the trial reaches next."""
        return self._ladder.milestone(trial)

    def on_start(self, trial: int, params: Mapping[str, Any]) -> None:
        """Note a new trial, or a promotion."""
        self._ladder.start(trial)

    def on_reports(self, observations: Sequence[Observation]) -> list[Decision]:
        """Pause at a rung, complete at `max_t`."""
        return [self._on_report(observation) for observation in observations]

    def _on_report(self, seen: Observation) -> Decision:
        rung = self._ladder.climb(seen)
        if seen.diverged:
            return Decision.STOP
        if seen.step >= self.max_t:
            return Decision.COMPLETE
        if rung is None:
            return Decision.CONTINUE
        if seen.resumable:
            return Decision.PAUSE
        rung.leave(seen.trial)
        promoted = rung.rank(seen.trial) < len(rung) // self.reduction_factor
        return Decision.CONTINUE if promoted else Decision.STOP

    def on_end(self, trial: int) -> None:
        """Take the trial out of what may be promoted; its ranks stay."""
        self._ladder.end(trial)

    def on_withdraw(self, trial: int) -> None:
        """Rank those that wait where it did without it."""
        self._ladder.withdraw(trial)

    def on_reopen(self, trial: int) -> None:
        """Let the trial wait at the rung that it reached last, to be promoted from there."""
        self._ladder.reopen(trial)

    def next(self, *, can_start: bool, running: int) -> Next:
        """Promote from the highest rung that can, else start, else wait."""
        for rung in reversed(self._ladder.rungs):
            trial = rung.promotable(len(rung) // self.reduction_factor)
            if trial is not None:
                return Promote(trial)
        if can_start:
            return Start()
        return Wait() if running else Done()
