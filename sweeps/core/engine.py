"""The decision core: searcher, scheduler and journal as one, without Ray.

Around it stand the Tune adapter and the simulator. What has happened is in the `State`, the next
work of a free slot comes from the `Dispatcher`, and how a trial ends is the word of the `Ends`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from sweeps.core.bounds import said
from sweeps.core.budget import Budget
from sweeps.core.dispatch import Dispatcher
from sweeps.core.ends import FINAL, End, Ends
from sweeps.core.fidelity import Fidelity
from sweeps.core.limits import Limits, check_grows
from sweeps.core.memory import OUT_OF_MEMORY
from sweeps.core.segment import Adopt, Segment, share
from sweeps.core.state import EventLog, Listener, State
from sweeps.core.steering import Steering
from sweeps.errors import SweepError, headline
from sweeps.journal.events import (
    Closed,
    Created,
    Event,
    Known,
    Lost,
    LostTo,
    Opened,
    Reported,
    Requested,
)
from sweeps.journal.objective import Objective
from sweeps.journal.status import Decision, Status
from sweeps.journal.trials import Trial
from sweeps.schedulers import Done, Scheduler, Wait
from sweeps.searchers import Searcher, View
from sweeps.space.space import Space


class Engine:
    """One sweep's decisions. Begun by `open`; driven by one thread.

    A slot asks `next_segment`, trains, and tells `on_report` (whose decision it must obey),
    `on_return`, `on_error` or `on_lost`.
    """

    def __init__(
        self,
        *,
        log: EventLog,
        objective: Objective,
        make_searcher: Callable[[View], Searcher],
        scheduler: Scheduler,
        limits: Limits,
        space: Space,
        budget: Budget | None = None,
        fidelity: Fidelity | None = None,
        steering: Steering | None = None,
        adopt: Adopt = share,
        clock: Callable[[], float] = time.time,
        listeners: Iterable[Listener] = (),
    ) -> None:
        self.state = State(
            log=log,
            objective=objective,
            scheduler=scheduler,
            space=space,
            budget=budget or Budget(),
            fidelity=fidelity,
            clock=clock,
            listeners=listeners,
        )
        self.trials = self.state.trials
        self._objective = objective
        self._limits = limits
        self._said = said(limits, budget or Budget())
        self._steering = steering or Steering(budget=budget or Budget())
        self._ends = Ends(objective, limits)
        self._slots = Dispatcher(self.state, make_searcher(self.state.view), limits, adopt)

    # Opening and closing

    def open(
        self, history: Iterable[Event], *, name: str, known: Sequence[Mapping[str, Any]] = ()
    ) -> None:
        """Take the sweep up where `history` leaves it; an empty one begins it.

        Args:
            history: The journal's events.
            name: The sweep's.
            known: Trials of earlier sweeps for the searcher to learn from, see `Known`; taken in
                when the sweep begins, and from the journal ever after.
        """
        for event in history:
            self.state.replay(event)
        if self.trials.created is None:
            self._create(name, study=0)
            if known:
                self.state.commit(Known(trials=known, time=self.state.now()))
        elif self.trials.spaces[-1] != self.state.space:
            self._create(f"{name}-{len(self.trials.spaces)}", study=len(self.trials.spaces))
        self._end_misfits()
        total = self.trials.steered.total(self._limits.num_samples, self._said)
        check_grows(total, len(self.trials))
        self.state.commit(Opened(run=self.trials.run + 1, bounds=self._said, time=self.state.now()))
        for trial in self.trials.with_status(Status.PAUSED):
            if trial.stopping:  # the last driver died over it
                self._end(trial, self._ends.stopped(trial))
        for trial in self.trials.with_status(Status.RUNNING):
            if end := self._ends.interrupted(trial):
                self._end(trial, end)
            elif self.state.is_to_climb(trial):
                self._slots.climb(trial)
            else:
                self._slots.requeue(trial)

    def _create(self, name: str, *, study: int) -> None:
        self.state.commit(
            Created(
                name=name,
                modes=tuple(objective.mode for objective in self._objective.all),
                space=self.state.space.to_json(),
                study=study,
                time=self.state.now(),
            )
        )

    def _end_misfits(self) -> None:
        """End what could go on, but has parameters that the changed space does not have."""
        for trial in self.trials.with_status(Status.RUNNING, Status.PAUSED):
            if not self.state.fits(trial):
                self._end(trial, End(status=Status.STOPPED, value=trial.value, cause="space"))

    def close(self, reason: str) -> None:
        """Note that this driver ends in order."""
        self.state.commit(Closed(reason=reason, time=self.state.now()))

    # What is to be done

    @property
    def total(self) -> int:
        """How many trials the sweep will have."""
        return self._slots.total

    @property
    def slots_wanted(self) -> int:
        """How many slots could have work, now or soon; an upper bound."""
        return self._slots.slots_wanted

    @property
    def spent(self) -> str | None:
        """Why the sweep is to end though there is work left: a budget is spent, a target met."""
        return self.state.spent

    @property
    def is_done(self) -> bool:
        """Whether no slot will ever have work again."""
        return self._slots.is_done

    @property
    def due(self) -> float | None:
        """When the first of the trials that are to be tried again may go on; None without any."""
        return self._slots.due

    @property
    def time_budget_s(self) -> float | None:
        """How long a driver may run the sweep; None where nothing is said."""
        granted = self.trials.steered.granted
        return granted.get("time_budget_s", self._limits.time_budget_s)

    @property
    def limits_time(self) -> bool:
        """Whether a trial may train for so long and no longer."""
        return math.isfinite(self._limits.trial_time_limit_s)

    def seconds_left(self, trial_number: int) -> float:
        """How long a trial may train from its last event on; one that is to stop, from now on."""
        trial = self.trials[trial_number]
        left = self._limits.trial_time_limit_s - trial.seconds
        return min(left, self._limits.teardown_timeout_s) if trial.stopping else left

    def next_segment(self, *, unwinding: Collection[int] = ()) -> Segment | Wait | Done:
        """What a free slot should do.

        Args:
            unwinding: Paused trials whose last segment has not left its slot yet: to go on now they
                would run twice at once.
        """
        return self._slots.next_segment(unwinding)

    # What is asked of it

    def on_request(self, request: str, asked: Mapping[str, Any]) -> Requested:
        """Take up what was asked of the sweep as it runs; what became of it.

        What was taken up before is only answered again. A trial that waits ends at once, one in a
        slot at its next report: the slot is to be ended after `seconds_left` without one.

        Args:
            request: Its id.
            asked: See `Requested`.
        """
        answers = self.trials.steered.answers
        if request not in answers:
            event = self._steering.answer(request, asked, self.trials, self.state.now())
            self.state.commit(event)
            if event.refusal is None and "stop" in asked:
                trial = self.trials[asked["stop"]]
                if self._slots.drop(trial):
                    self._end(trial, self._ends.stopped(trial))
        return answers[request]

    # What slots tell

    def on_report(
        self,
        trial_number: int,
        *,
        step: int,
        metrics: Mapping[str, float],
        checkpoint: str | None,
    ) -> Decision:
        """Take a report in and decide on it; durable before this returns."""
        trial = self._slots.in_slot(trial_number)
        decision = self._report(trial, step, metrics, checkpoint)
        if decision not in FINAL and self._cannot_judge(trial):
            self._end(trial, self._ends.without(self._objective.metric, trial, {}))
            return Decision.STOP
        return decision

    def on_return(
        self,
        trial_number: int,
        metrics: Mapping[str, float],
        *,
        checkpoint: str | None = None,
    ) -> None:
        """The task function returned.

        Args:
            trial_number: Which.
            metrics: What it returned; where the fidelity is a parameter, its best report too.
            checkpoint: That report's.

        Raises:
            SweepError: No trial, this one included, ever gave the objective's metric.
        """
        trial = self._slots.in_slot(trial_number)
        if self.state.fidelity is None:
            self._end(trial, self._ends.returned(trial, metrics))
        elif self._objective.metric not in metrics:
            self._end(trial, self._ends.without(self._objective.metric, trial, metrics))
        else:
            self._on_rung(trial, self.state.fidelity, metrics, checkpoint)

    def on_error(
        self, trial_number: int, error: str, *, cause: str = "error", log: str | None = None
    ) -> None:
        """The task function raised; it is tried again from its checkpoint as often as allowed.

        Not so where something cannot be imported, nor where memory ran out: that is the
        configuration's doing, so the trial counts as diverged and the sampler keeps away.

        Args:
            trial_number: Which.
            error: The traceback.
            cause: `import` where something could not be imported, `out_of_memory`, or `error`.
            log: The file that holds the traceback too, for the message.

        Raises:
            SweepError: Too many trials failed, or this one could not import what it needs, and none
                has ever worked.
        """
        trial = self._slots.in_slot(trial_number)
        if cause == OUT_OF_MEMORY:
            self._end(trial, End(status=Status.DIVERGED, error=error, cause=cause))
            return
        may_retry = cause == "error" and self._limits.may_retry(trial, self.state.now())
        if may_retry and not trial.stopping:
            self._lose(trial, error, "error")
            self._slots.requeue(trial)
            return
        self._end(trial, End(status=Status.FAILED, error=error, cause=cause))
        if cause == "import" and not any(map(_has_worked, self.trials)):
            raise SweepError(
                f"trial {trial_number} cannot import what it needs, so none can: "
                f"{headline(error)}" + (f"\nThe whole traceback is in {log}" if log else "")
            )

    def on_lost(
        self, trial_number: int, reason: str, *, cause: LostTo = "lost", counts: bool = True
    ) -> None:
        """The slot died under the trial; it goes on from its checkpoint in another.

        Args:
            trial_number: Which.
            reason: For the record.
            cause: `out_of_memory` where Ray ended it because memory ran low, else `lost`.
            counts: Whether the trial may be to blame; False when it had not begun.
        """
        trial = self._slots.in_slot(trial_number)
        if counts:
            self._lose(trial, reason, cause)
        if end := self._ends.lost(trial, reason):
            self._end(trial, end)
        else:
            self._slots.requeue(trial)

    def on_time_up(self, trial_number: int) -> None:
        """The trial trains beyond its time limit without a report; its slot is about to die."""
        trial = self._slots.in_slot(trial_number)
        self._end(trial, self._ends.over_time(trial))

    # What follows from it

    def _on_rung(
        self,
        trial: Trial,
        fidelity: Fidelity,
        metrics: Mapping[str, float],
        checkpoint: str | None,
    ) -> None:
        """A segment that trained anew at a fidelity is over: its result is the rung's report."""
        rung = self.state.rung(trial)
        assert rung is not None, "there is a fidelity"
        decision = self._report(trial, rung, metrics, checkpoint, fidelity.value(rung))
        if decision is Decision.CONTINUE:
            self._slots.climb(trial)

    def _report(
        self,
        trial: Trial,
        step: int,
        metrics: Mapping[str, float],
        checkpoint: str | None,
        fidelity: float | None = None,
    ) -> Decision:
        report = Reported(
            trial=trial.number,
            run=self.trials.run,
            step=step,
            metrics=metrics,
            value=metrics.get(self._objective.metric),
            checkpoint=checkpoint,
            decision=Decision.CONTINUE,
            several=bool(self._objective.others),
            fidelity=fidelity,
            time=self.state.now(),
        )
        report = replace(report, decision=self._decide(trial, report))
        self.state.commit(report)
        if report.decision in FINAL:
            self._end(trial, self._ends.decided(trial, report))
        elif report.decision is Decision.PAUSE:
            self._slots.release(trial)
            self._check()
        return report.decision

    def _decide(self, trial: Trial, report: Reported) -> Decision:
        """The scheduler's decision, or a stop by request, or where the trial's time is up."""
        decision = self.state.decide(report)
        over = trial.stopping or self._limits.is_over_time(trial.seconds_at(report.time))
        return Decision.STOP if over and decision not in FINAL else decision

    def _cannot_judge(self, trial: Trial) -> bool:
        """Whether a trial went past a rung and never reported what it is compared by there."""
        rungs = self.state.scheduler.rungs()
        unseen = all(report.value is None for report in trial.reports.values())
        return bool(rungs) and unseen and trial.step > rungs[0]

    def _lose(self, trial: Trial, reason: str, cause: LostTo) -> None:
        event = Lost(trial=trial.number, reason=reason, cause=cause, time=self.state.now())
        self.state.commit(event)

    def _end(self, trial: Trial, end: End) -> None:
        """End a trial for good.

        Raises:
            SweepError: It never gave an objective's metric, and no other trial has.
        """
        self._slots.release(trial)
        self.state.commit(end.event(trial.number, self.state.now()))
        if end.missing is not None and end.missing not in self.trials.metric_names:
            raise SweepError(end.error)
        self._check(failed=end.status is Status.FAILED)

    def _check(self, *, failed: bool = False) -> None:
        """See that the sweep may go on after a trial has ended or paused."""
        self._limits.check_failures(self.trials.counts, failed_now=failed)
        self.state.check_cost()


def _has_worked(trial: Trial) -> bool:
    return bool(trial.reports) or trial.status is Status.COMPLETE
