"""A sweep's state: what its events have made of it.

It is event-sourced: whatever happens is first an event in the log, durable, and only then takes
effect. A resumed sweep applies the journal's events through the same code and stands where the last
driver stood.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

from sweeps.core.bounds import with_granted
from sweeps.core.budget import Budget, Meter
from sweeps.core.fidelity import Fidelity
from sweeps.journal.events import (
    Asked,
    Created,
    Ended,
    Event,
    Opened,
    Reported,
    Requested,
    Started,
)
from sweeps.journal.objective import Objective
from sweeps.journal.status import BY_REQUEST, Decision
from sweeps.journal.trials import Trial, Trials
from sweeps.schedulers import Observation, Scheduler
from sweeps.searchers import View
from sweeps.space.space import Space


class EventLog(Protocol):
    """Where events go before they take effect: the journal, or memory in a simulation."""

    def append(self, *events: Event) -> None:
        """Make events durable."""


Listener = Callable[[Event, Trials], None]
"""Called after an event took effect, with the state it led to; must be quick and not raise."""


class State:
    """The trials, what searcher and scheduler know of them, and what of the budget is spent.

    Nothing but `commit` and `replay` changes it, and `decide`, which is a part of both.
    """

    def __init__(
        self,
        *,
        log: EventLog,
        objective: Objective,
        scheduler: Scheduler,
        space: Space,
        budget: Budget,
        fidelity: Fidelity | None,
        clock: Callable[[], float],
        listeners: Iterable[Listener],
    ) -> None:
        self.objective = objective
        self.scheduler = scheduler
        self.space = space
        self.fidelity = fidelity
        self.now = clock
        self.trials = Trials(objective)
        self.view = View(objective)
        """What the searcher sees."""
        self.can_reopen: set[int] = set()
        """Trials that were complete, and may go on since `max_t` was raised."""
        self._log = log
        self._listeners = list(listeners)
        self._budget = budget
        self._meter = Meter(budget, objective)

    def check_cost(self) -> None:
        """See that trials tell what they cost, where that is a budget.

        Raises:
            SweepError: They do not.
        """
        self._meter.check(self.trials)

    @property
    def spent(self) -> str | None:
        """Why the sweep is to end though there is work left: a budget is spent, a target met."""
        return self._meter.spent(self.trials)

    def commit(self, event: Event) -> None:
        """Let an event happen: durable first, then in effect, then known to the listeners."""
        self._log.append(event)
        self._apply(event)
        for listener in self._listeners:
            listener(event, self.trials)

    def replay(self, event: Event) -> None:
        """Let an event that is in the log take effect again, in a new driver."""
        if isinstance(event, Reported):
            self.decide(event)
        self._apply(event)

    def decide(self, report: Reported) -> Decision:
        """What the scheduler says to a report; once for each, before the report takes effect."""
        if report.value is None:
            return Decision.CONTINUE
        anew = self.fidelity is not None  # each rung trains from the beginning
        seen = Observation(
            trial=report.trial,
            step=self._resource(report),
            loss=self.objective.loss(report.value),
            resumable=anew or report.checkpoint is not None,
        )
        (decision,) = self.scheduler.on_reports([seen])
        return decision

    def fits(self, trial: Trial) -> bool:
        """Whether a trial is a configuration of the space as it is now."""
        return len(self.trials.spaces) == 1 or self.space.holds(self.trials.values(trial))

    def rung(self, trial: Trial) -> int | None:
        """The rung that the trial's segment trains for, where the fidelity is a parameter."""
        if self.fidelity is None:
            return None
        resource = self.scheduler.milestone(trial.number)
        assert resource is not None, "a scheduler without milestones was given a fidelity"
        return self.fidelity.rung(resource)

    def is_to_climb(self, trial: Trial) -> bool:
        """Whether the trial is done with its rung, may go on, and has not begun the next."""
        return self.fidelity is not None and len(trial.reports) > trial.promotions

    def _resource(self, report: Reported) -> int:
        """The step as the scheduler counts it."""
        return report.step if self.fidelity is None else self.fidelity.resource(report.step)

    def _apply(self, event: Event) -> None:
        self.trials.apply(event)
        self.view.apply(event)
        self._meter.apply(event, self.trials)
        match event:
            case Opened() | Requested():
                self._meter.budget = with_granted(self._budget, self.trials.steered.granted)
            case Created():
                self._keep_closed([n for n in self.can_reopen if not self.fits(self.trials[n])])
            case Asked() | Started():
                self.can_reopen.discard(event.trial)
                self._on_start(event)
            case Ended() if self._may_reopen(event):
                self.can_reopen.add(event.trial)
                self.scheduler.on_reopen(event.trial)
            case Ended(cause=cause) if cause == BY_REQUEST:
                self.scheduler.on_withdraw(event.trial)
            case Ended():
                self.scheduler.on_end(event.trial)

    def _keep_closed(self, complete: Iterable[int]) -> None:
        """What was complete stays so: a changed space has no place for these."""
        for number in sorted(complete):
            self.can_reopen.discard(number)
            self.scheduler.on_end(number)

    def _on_start(self, event: Asked | Started) -> None:
        params = self.trials[event.trial].params
        if isinstance(event, Started) and event.source is not None and event.step is not None:
            self.scheduler.on_exploit(event.trial, params, source=event.source, step=event.step)
        else:
            self.scheduler.on_start(event.trial, params)

    def _may_reopen(self, event: Ended) -> bool:
        """Whether the trial was complete under a `max_t` that has been raised since."""
        last, max_t = self.trials[event.trial].last, self.scheduler.max_t
        if last is None or last.decision is not Decision.COMPLETE or max_t is None:
            return False
        return self._resource(last) < max_t
