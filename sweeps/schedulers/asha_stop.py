"""ASHA that stops instead of pausing: for trials that cannot go on from a checkpoint.

The variant of Li et al. 2020 that Ray Tune and Syne Tune ("stopping") have; see `asha` for the
paper's own.
"""

from __future__ import annotations

import bisect
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

import numpy as np

from sweeps.journal.status import Decision
from sweeps.schedulers.base import Done, Next, Observation, Promote, Scheduler, Start, Wait
from sweeps.schedulers.brackets import hyperband_size
from sweeps.schedulers.rung import Ladder, Rung, levels
from sweeps.searchers.base import seed_of


class AshaStop(Scheduler):
    """At each rung a trial goes on at once or is stopped for good; nothing pauses.

    Rungs stand as in `Asha`. A trial goes on where it is among the best `1/reduction_factor` of
    those that have reached its rung so far, itself included, rounded up: so the best so far always
    goes on, the first to arrive with it, and some trial reaches `max_t` however few there are.
    Rounded down, the first `reduction_factor - 1` arrivals at each rung would be stopped for good
    without a comparison that they lost; rounded up costs no more than one trial a rung above its
    share. A trial that diverged is stopped at once and ranks last at the next rung it would have
    reached.

    With several brackets, bracket b begins at rung b, so that some trials are judged later. A
    trial's is drawn from a generator seeded by (seed, trial), in proportion to the configurations
    that Hyperband gives each.

    Args:
        max_t: Steps after which a trial is complete.
        grace_period: Steps of the first rung.
        reduction_factor: One in how many goes on from a rung (eta in the paper).
        brackets: How many first rungs there are to begin at.
        seed: The sweep's.
    """

    judges_between_rungs = False

    def __init__(
        self,
        *,
        max_t: int,
        grace_period: int = 1,
        reduction_factor: int = 3,
        brackets: int = 1,
        seed: int = 0,
    ) -> None:
        self._steps = levels(max_t, grace_period, reduction_factor)
        if not 1 <= brackets <= len(self._steps):
            raise ValueError(
                f"brackets is {brackets}; it must be between 1 and {len(self._steps)}, the number "
                f"of rungs with max_t"
            )
        self.max_t: int = max_t
        self.extends = brackets == 1  # another max_t would draw other brackets
        self.reduction_factor = reduction_factor
        self._seed = seed
        self._brackets = [Ladder(self._steps[b:]) for b in range(brackets)]
        s_max = len(self._steps) - 1
        self._weights = list(
            accumulate(hyperband_size(s_max - b, s_max, reduction_factor) for b in range(brackets))
        )
        self._bracket: dict[int, Ladder] = {}

    def rungs(self) -> list[int]:
        """The steps of the rungs of all brackets, and `max_t`."""
        return list(self._steps)

    def milestone(self, trial: int) -> int:
        """The rung that the trial reaches next."""
        return self._bracket[trial].milestone(trial)

    def on_start(self, trial: int, params: Mapping[str, Any]) -> None:
        """Draw a new trial's bracket."""
        if trial not in self._bracket:
            self._bracket[trial] = self._draw(trial)
        self._bracket[trial].start(trial)

    def _draw(self, trial: int) -> Ladder:
        drawn = np.random.default_rng(seed_of(self._seed, trial)).integers(self._weights[-1])
        return self._brackets[bisect.bisect_right(self._weights, drawn)]

    def on_reports(self, observations: Sequence[Observation]) -> list[Decision]:
        """Go on or stop at a rung, complete at `max_t`."""
        return [self._on_report(observation) for observation in observations]

    def _on_report(self, seen: Observation) -> Decision:
        rung = self._bracket[seen.trial].climb(seen)
        if rung is not None:
            rung.leave(seen.trial)
        if seen.diverged:
            return Decision.STOP
        if seen.step >= self.max_t:
            return Decision.COMPLETE
        if rung is None or rung.rank(seen.trial) < self._top(rung):
            return Decision.CONTINUE
        return Decision.STOP

    def _top(self, rung: Rung) -> int:
        """How many of those at a rung may go on: their share, rounded up."""
        return -(-len(rung) // self.reduction_factor)

    def on_end(self, trial: int) -> None:
        """Nothing to keep: its ranks stay."""

    def on_reopen(self, trial: int) -> None:
        """Let the trial go on where it is still among the best of the rung that it reached last."""
        self._bracket[trial].reopen(trial)

    def next(self, *, can_start: bool, running: int) -> Next:
        """Start while the budget lasts, after what was complete at a lower `max_t`."""
        for bracket in self._brackets:
            for rung in reversed(bracket.rungs):
                trial = rung.promotable(self._top(rung))
                if trial is not None:
                    return Promote(trial)
        if can_start:
            return Start()
        return Wait() if running else Done()
