"""Stop a trial whose learning curve will not get anywhere.

Domhan et al., "Speeding Up Automatic Hyperparameter Optimization of Deep Neural Networks by
Extrapolation of Learning Curves", IJCAI 2015: algorithm 1.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sweeps.journal.status import Decision
from sweeps.schedulers.base import Done, Next, Observation, Scheduler, Start, Wait
from sweeps.schedulers.curves import Array, Curves

_FEWEST = 4
"""Reports that say anything of a curve."""


@dataclass
class _Trial:
    steps: list[int] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    due: int = 0
    """The step at which it is judged next."""


class LearningCurve(Scheduler):
    """Stops a trial whose chance to beat the incumbent at `max_t` is under `min_probability`.

    The incumbent is the best loss that any other trial has reported: the trial that holds it is
    never stopped. How a curve is extrapolated says `sweeps.schedulers.curves`. A trial that
    diverges is ended at once. Trials run on until they are stopped: no checkpoint is needed.

    Args:
        max_t: Steps after which a trial is complete.
        grace_period: Steps before a trial is judged for the first time; at least four reports.
        every: Steps between two judgements.
        min_probability: The chance under which a trial is stopped.
    """

    def __init__(
        self,
        *,
        max_t: int,
        grace_period: int = 8,
        every: int = 1,
        min_probability: float = 0.05,
    ) -> None:
        if grace_period < 1:
            raise ValueError(f"grace_period is {grace_period}; it must be 1 or more")
        if max_t <= grace_period:
            raise ValueError(f"max_t is {max_t}; it must be more than grace_period, {grace_period}")
        if every < 1:
            raise ValueError(f"every is {every}; it must be 1 or more")
        if not 0 < min_probability < 1:
            raise ValueError(
                f"min_probability is {min_probability}; it must be between 0 and 1, both excluded"
            )
        self.max_t: int = max_t
        self._grace = grace_period
        self._every = every
        self._least = min_probability
        self._curves = Curves(max_t)
        self._trials: dict[int, _Trial] = {}
        self._best: dict[int, float] = {}
        self._ranked: list[tuple[float, int]] = []
        """(best loss, number) of each trial that has not diverged."""

    def rungs(self) -> list[int]:
        """Where a trial is first judged, and `max_t`."""
        return [self._grace, self.max_t]

    def describe(self) -> str:
        """When a trial is stopped, and when it is complete."""
        return (
            f"each to step {self.max_t}, or stopped from step {self._grace} on where its chance "
            f"of beating the best is under {self._least:g}"
        )

    def on_start(self, trial: int, params: Mapping[str, Any]) -> None:
        """Note a new trial."""
        self._trials.setdefault(trial, _Trial(due=self._grace))

    def on_reports(self, observations: Sequence[Observation]) -> list[Decision]:
        """Stop what diverged and what has no chance, complete at `max_t`."""
        decisions = [self._take(seen) for seen in observations]
        doubted = [i for i, decision in enumerate(decisions) if decision is None]
        if doubted:
            trials = [observations[i].trial for i in doubted]
            hopeless = self._chances(trials) < self._least
            for i, stop in zip(doubted, hopeless, strict=True):
                decisions[i] = Decision.STOP if stop else Decision.CONTINUE
        return [decision or Decision.CONTINUE for decision in decisions]

    def on_end(self, trial: int) -> None:
        """Forget its curve; its best loss stays to be beaten."""
        del self._trials[trial]

    def next(self, *, can_start: bool, running: int) -> Next:
        """Start while the budget lasts."""
        if can_start:
            return Start()
        return Wait() if running else Done()

    def _take(self, seen: Observation) -> Decision | None:
        """Note a report; None where the trial is to be judged by its curve."""
        trial = self._trials[seen.trial]
        if seen.diverged:
            self._rank(seen.trial, None)
            return Decision.STOP
        if trial.steps and seen.step <= trial.steps[-1]:
            return Decision.CONTINUE
        trial.steps.append(seen.step)
        trial.losses.append(seen.loss)
        if seen.loss < self._best.get(seen.trial, math.inf):
            self._rank(seen.trial, seen.loss)
        if seen.step >= self.max_t:
            return Decision.COMPLETE
        if seen.step < trial.due or len(trial.steps) < _FEWEST:
            return Decision.CONTINUE
        trial.due = seen.step + self._every
        return Decision.CONTINUE if self._leads(seen.trial) else None

    def _chances(self, trials: Sequence[int]) -> Array:
        """Of trials that do not lead: how likely they are to beat the one that does."""
        curves = [(self._trials[t].steps, self._trials[t].losses) for t in trials]
        return self._curves.chances(curves, [self._ranked[0][0]] * len(trials))

    def _leads(self, trial: int) -> bool:
        return self._ranked[0][1] == trial

    def _rank(self, trial: int, loss: float | None) -> None:
        """Put a trial's best loss in its place; None takes it out."""
        before = self._best.pop(trial, None)
        if before is not None:
            del self._ranked[bisect.bisect_left(self._ranked, (before, trial))]
        if loss is not None:
            self._best[trial] = loss
            bisect.insort(self._ranked, (loss, trial))
