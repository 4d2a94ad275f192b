"""The median stopping rule of Google Vizier.

Golovin et al., "Google Vizier: A Service for Black-Box Optimization", KDD 2017, section 3.2.2.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sweeps.journal.status import Decision
from sweeps.schedulers.base import Done, Next, Observation, Scheduler, Start, Wait


@dataclass
class _Curve:
    """What a trial reported."""

    best: float = math.inf
    steps: list[int] = field(default_factory=list)
    means: list[float] = field(default_factory=list)
    """The mean of the losses up to each of `steps`."""

    def add(self, step: int, loss: float) -> None:
        mean = self.means[-1] if self.means else 0.0
        self.best = min(self.best, loss)
        self.steps.append(step)
        self.means.append(mean + (loss - mean) / len(self.steps))  # equal losses stay exact

    def mean_at(self, step: int) -> float | None:
        """The mean of the losses up to a step; None where there are none, or it ended before."""
        if not self.steps or not self.steps[0] <= step <= self.steps[-1]:
            return None
        return self.means[bisect.bisect_right(self.steps, step) - 1]


class Median(Scheduler):
    """Stops a trial whose best loss is worse than the median of the others' running averages.

    At a step, the running average of a trial is the mean of its losses up to there; the trial that
    reports is stopped where its own best loss up to there is strictly worse than the median over
    all others that got as far. The paper takes completed trials alone. Here those that still run
    count too, as in Ray: with as many slots as trials the rule could otherwise stop none; with one
    slot both are the same. A trial that diverged is stopped, and ranks last at its step.

    Args:
        grace_period: No trial is stopped before this step.
        min_samples_required: Nor where fewer others got as far.
        max_t: Steps after which a trial is complete; without it each runs to its own end.
    """

    def __init__(
        self,
        *,
        grace_period: int = 1,
        min_samples_required: int = 3,
        max_t: int | None = None,
    ) -> None:
        if grace_period < 1:
            raise ValueError(f"grace_period is {grace_period}; it must be 1 or more")
        if min_samples_required < 1:
            raise ValueError(
                f"min_samples_required is {min_samples_required}; it must be 1 or more"
            )
        if max_t is not None and max_t < grace_period:
            raise ValueError(f"max_t is {max_t}; it must be at least grace_period, {grace_period}")
        self.grace_period = grace_period
        self.min_samples_required = min_samples_required
        self.max_t = max_t
        self._curves: dict[int, _Curve] = {}
        self._steps: list[int] = []
        """At which any trial reported, ascending."""
        self._means: dict[int, list[float]] = {}
        """By step: the running averages there, ascending, of all that got as far."""

    def rungs(self) -> list[int]:
        """`max_t`, where there is one."""
        return [] if self.max_t is None else [self.max_t]

    def describe(self) -> str:
        """When a trial is stopped, and when it is complete."""
        end = "its end" if self.max_t is None else f"step {self.max_t}"
        return (
            f"each to {end}, or stopped from step {self.grace_period} on where it is worse than "
            f"the median of {self.min_samples_required} others or more"
        )

    def on_start(self, trial: int, params: Mapping[str, Any]) -> None:
        """Begin a new trial's curve."""
        self._curves.setdefault(trial, _Curve())

    def on_reports(self, observations: Sequence[Observation]) -> list[Decision]:
        """Stop what is worse than the median, complete at `max_t`."""
        return [self._on_report(observation) for observation in observations]

    def _on_report(self, seen: Observation) -> Decision:
        curve = self._curves[seen.trial]
        if curve.steps and seen.step <= curve.steps[-1]:  # trained again after a crash
            return Decision.STOP if seen.diverged else Decision.CONTINUE
        others = self._others(curve, seen.step)
        enough = seen.step >= self.grace_period and len(others) >= self.min_samples_required
        worse = enough and min(curve.best, seen.loss) > _median(others)
        curve.add(seen.step, seen.loss)
        bisect.insort(others, curve.means[-1])
        if seen.diverged:
            return Decision.STOP
        if self.max_t is not None and seen.step >= self.max_t:
            return Decision.COMPLETE
        return Decision.STOP if worse else Decision.CONTINUE

    def _others(self, curve: _Curve, step: int) -> list[float]:
        """The running averages at a step that the trial newly reaches; its own is not added yet.

        At steps that it passed since its last report, and others reported at, its average is what
        it was.
        """
        if curve.steps:
            first = bisect.bisect_right(self._steps, curve.steps[-1])
            for passed in self._steps[first : bisect.bisect_left(self._steps, step)]:
                bisect.insort(self._means[passed], curve.means[-1])
        if step not in self._means:
            means = (other.mean_at(step) for other in self._curves.values())
            self._means[step] = sorted(mean for mean in means if mean is not None)
            bisect.insort(self._steps, step)
        return self._means[step]

    def on_end(self, trial: int) -> None:
        """Nothing to do: what it reported still counts."""

    def next(self, *, can_start: bool, running: int) -> Next:
        """Start while the budget lasts."""
        if can_start:
            return Start()
        return Wait() if running else Done()


def _median(ascending: Sequence[float]) -> float:
    low, high = ascending[(len(ascending) - 1) // 2], ascending[len(ascending) // 2]
    return low / 2 + high / 2
