"""When a sweep has spent or found enough: budgets and stoppers, folded from its events."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sweeps.errors import SweepError, did_you_mean
from sweeps.journal.events import Ended, Event, Reported
from sweeps.journal.objective import Objective
from sweeps.journal.status import Decision
from sweeps.journal.trials import Trials


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What ends a sweep before all its trials are done; None does not."""

    total_steps: int | None = None
    """Steps over all trials."""
    cost_metric: str | None = None
    """A metric that says what a trial has cost so far, in seconds or money: it never falls."""
    cost: float | None = None
    """The most that all trials may cost together."""
    target: float | None = None
    """A value of the objective that is good enough."""
    patience: int | None = None
    """Trials in a row that may go by without improving the best value."""
    tolerance: float = 0.0
    """An improvement up to this counts as none."""
    repeats: int = 1
    """How many runs a trial is: each costs what their mean says, and a step is one of each."""


_RAISED = {
    "hydra.sweeper.time_budget_s": "time_budget_s",
    "hydra.sweeper.total_steps": "total_steps",
    "hydra.sweeper.cost.budget": "cost",
    "hydra.sweeper.stop.patience": "patience",
}
"""Keys that reasons to end begin with, and where their values stand."""


def override_for_more(reason: str, budget: Mapping[str, Any]) -> str | None:
    """With what a sweep that its budget ended for this reason goes on; None for other reasons."""
    key = reason.partition(" ")[0].removesuffix(",")
    if key == "hydra.sweeper.stop.target":
        return f"{key}=null"
    value = budget.get(_RAISED.get(key, ""))
    return None if value is None else f"{key}={2 * value}"


class Meter:
    """How far a sweep is into its budget. Apply every event, after the trials have."""

    def __init__(self, budget: Budget, objective: Objective) -> None:
        self.budget = budget
        self._objective = objective
        self._costs: dict[int, float] = {}
        self._cost = 0.0
        self._mark: float | None = None
        """The best value when it last improved by more than the tolerance."""
        self._since: set[int] = set()
        """The trials that were paused or ended since then."""
        self._leader: int | None = None

    def apply(self, event: Event, trials: Trials) -> None:
        """Take an event in."""
        match event:
            case Reported():
                self._count_cost(event.trial, event.metrics, anew=event.fidelity is not None)
                paused = event.decision is Decision.PAUSE
                self._count_patience(event.trial, trials, settled=paused)
            case Ended():
                self._count_cost(event.trial, event.metrics, anew=False)
                self._count_patience(event.trial, trials, settled=True)

    def spent(self, trials: Trials) -> str | None:
        """Why the sweep is to end now, or None."""
        budget, best = self.budget, trials.best
        steps = trials.steps * budget.repeats
        if budget.total_steps is not None and steps >= budget.total_steps:
            return f"hydra.sweeper.total_steps, {budget.total_steps}, are spent"
        if budget.cost is not None and self._cost >= budget.cost:
            return f"hydra.sweeper.cost.budget, {budget.cost:g} in {budget.cost_metric}, is spent"
        if budget.target is not None and best is not None and best.value is not None:
            loss, target = self._objective.loss(best.value), self._objective.loss(budget.target)
            if loss <= target:
                return f"hydra.sweeper.stop.target, {budget.target:g}, is reached"
        if budget.patience is not None and len(self._since) >= budget.patience:
            more = f" by more than {budget.tolerance:g}" if budget.tolerance else ""
            return (
                f"hydra.sweeper.stop.patience, {budget.patience}: {len(self._since)} trials in a "
                f"row have not improved the best{more}"
            )
        return None

    def check(self, trials: Trials) -> None:
        """See that what a trial costs was told, once one has been judged.

        Raises:
            SweepError: No trial has given the metric.
        """
        name, known = self.budget.cost_metric, sorted(trials.metric_names)
        if name is not None and known and name not in known:
            raise SweepError(
                f"hydra.sweeper.cost.metric is {name!r}, and no trial has given it: they gave "
                f"{', '.join(known)}{did_you_mean(name, known)}"
            )

    def _count_cost(self, trial: int, metrics: Mapping[str, float], *, anew: bool) -> None:
        """Add what a trial has cost since; `anew` where it began again from 0."""
        cost = metrics.get(self.budget.cost_metric or "")
        if cost is not None and math.isfinite(cost):
            before = 0.0 if anew else self._costs.get(trial, 0.0)
            self._costs[trial] = max(before, cost)
            self._cost += max(0.0, cost - before) * self.budget.repeats

    def _count_patience(self, trial: int, trials: Trials, *, settled: bool) -> None:
        if self.budget.patience is None:
            return
        best = trials.best.value if trials.best else None
        if best is not None and self._improves(best):
            self._mark, self._leader = best, trial
            self._since = set()
        elif settled and trial != self._leader:
            self._since.add(trial)

    def _improves(self, best: float) -> bool:
        if self._mark is None:
            return True
        gain = self._objective.loss(self._mark) - self._objective.loss(best)
        return gain > self.budget.tolerance
