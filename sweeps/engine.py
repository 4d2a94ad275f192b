"""The decision core: searcher, scheduler and journal as one, without Ray.

Around it stand the Tune adapter and the simulator. It is event-sourced: whatever happens is first
an event in the journal, durable, and only then takes effect. A resumed sweep applies the journal's
events through the same code and stands where the last driver stood.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from sweeps.budget import Budget, Meter
from sweeps.errors import ConfigError, SweepError, did_you_mean, headline
from sweeps.fidelity import Fidelity
from sweeps.journal import (
    Asked,
    Closed,
    Created,
    Ended,
    Event,
    Known,
    Lost,
    Opened,
    Reason,
    Reported,
    Started,
)
from sweeps.objective import Objective
from sweeps.schedulers import Done, Exploit, Observation, Promote, Scheduler, Start, Wait
from sweeps.searchers import Searcher, View
from sweeps.space import Space
from sweeps.status import Decision, Status
from sweeps.trials import Trial, Trials


class EventLog(Protocol):
    """Where events go before they take effect: the journal, or memory in a simulation."""

    def append(self, *events: Event) -> None:
        """Make events durable."""


_ENDS = (Decision.STOP, Decision.COMPLETE)

Listener = Callable[[Event, Trials], None]
"""Called after an event took effect, with the state it led to; must be quick and not raise."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What bounds a sweep."""

    num_samples: int
    max_losses: int = 3
    """How often a trial may lose its process or node before it counts as failed."""
    max_failure_rate: float = 1.0
    """Share of ended trials that may fail; a sweep is only judged after five have ended."""


@dataclass(frozen=True, kw_only=True)
class Segment:
    """A stretch of a trial's training for one slot."""

    trial: int
    run: int
    values: Mapping[str, Any]
    """The trial's parameters as its app sees them, by name."""
    checkpoint: str | None
    rung: int | None = None
    """From 1, where the fidelity is a parameter: the segment trains anew, at `fidelity`."""
    fidelity: float | None = None
    exploits: int = 0
    """How often the trial has gone on from another's checkpoint: each time in a folder of its own,
    as another model with other parameters."""


Adopt = Callable[[str, Segment], str]
"""(another trial's checkpoint, the segment to go on from it) -> a copy for that trial alone, by
name and durable: the other goes on, and deletes its own when it has a newer one."""


def _share(checkpoint: str, segment: Segment) -> str:
    """Where checkpoints are only names."""
    return checkpoint


class Engine:
    """One sweep's decisions. Made by `Engine.open`; driven by one thread.

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
        adopt: Adopt = _share,
        clock: Callable[[], float] = time.time,
        listeners: Iterable[Listener] = (),
    ) -> None:
        self.trials = Trials(objective)
        self.objective = objective
        self.limits = limits
        self._log = log
        self._view = View(objective)
        self._searcher = make_searcher(self._view)
        self._scheduler = scheduler
        self._space = space
        self._distributions = space.distributions()
        self._fidelity = fidelity
        self._adopt = adopt
        self._meter = Meter(budget or Budget(), objective)
        self._clock = clock
        self._listeners = list(listeners)
        self._to_resume: deque[int] = deque()
        self._to_climb: deque[int] = deque()
        """Trials that go on at their next fidelity at once."""
        self._in_slots: set[int] = set()
        self._can_reopen: set[int] = set()
        """Trials that were complete, and may go on since `max_t` was raised."""

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
            self._replay(event)
        if self.trials.created is None:
            self._create(name, study=0)
            if known:
                self._commit(Known(trials=known, time=self._clock()))
        elif self.trials.spaces[-1] != self._space:
            self._create(f"{name}-{len(self.trials.spaces)}", study=len(self.trials.spaces))
            self._end_misfits()
        check_grows(self.limits.num_samples, len(self.trials))
        self._commit(Opened(run=self.trials.run + 1, time=self._clock()))
        for trial in self.trials.with_status(Status.RUNNING):
            if not self._finish_interrupted(trial):
                self._to_resume.append(trial.number)

    def _create(self, name: str, *, study: int) -> None:
        modes = tuple(objective.mode for objective in self.objective.all)
        space = self._space.to_json()
        self._commit(Created(name=name, modes=modes, space=space, study=study, time=self._clock()))

    def _end_misfits(self) -> None:
        """End what could go on, but has parameters that the changed space does not have."""
        for trial in self.trials.with_status(Status.RUNNING, Status.PAUSED):
            if not self._space.holds(self.trials.values(trial)):
                self._end(trial, Status.STOPPED, value=trial.value, cause="space")

    def close(self, reason: str) -> None:
        """Note that this driver ends in order."""
        self._commit(Closed(reason=reason, time=self._clock()))

    def _finish_interrupted(self, trial: Trial) -> bool:
        """End a trial whose end was decided, but not yet written, when the driver died."""
        if trial.last is not None and trial.last.decision in _ENDS:
            self._end_decided(trial, trial.last)
            return True
        if trial.losses > self.limits.max_losses:
            self._end(trial, Status.FAILED, error=f"lost {trial.losses} times", cause="lost")
            return True
        return False

    # A slot's calls

    @property
    def total(self) -> int:
        """How many trials the sweep will have."""
        limit = self._searcher.limit
        return self.limits.num_samples if limit is None else min(limit, self.limits.num_samples)

    @property
    def slots_wanted(self) -> int:
        """How many slots could have work, now or soon; an upper bound."""
        unstarted = self.total - len(self.trials)
        paused = self.trials.counts[Status.PAUSED]
        waiting = len(self._to_resume) + len(self._to_climb) + len(self._in_slots)
        return max(0, unstarted) + waiting + paused + len(self._can_reopen)

    @property
    def spent(self) -> str | None:
        """Why the sweep is to end though there is work left: a budget is spent, a target met."""
        return self._meter.spent(self.trials)

    @property
    def is_done(self) -> bool:
        """Whether no slot will ever have work again."""
        if self._to_resume or self._to_climb or self._in_slots:
            return False
        can_start = len(self.trials) < self.total
        return isinstance(self._scheduler.next(can_start=can_start, running=0), Done)

    def next_segment(self, *, unwinding: Collection[int] = ()) -> Segment | Wait | Done:
        """What a free slot should do.

        Args:
            unwinding: Paused trials whose last segment has not left its slot yet: to go on now they
                would run twice at once.
        """
        if self.spent is not None:
            return Done()
        if self._to_climb:
            return self._start(self.trials[self._to_climb.popleft()], "promote")
        if self._to_resume:
            trial = self.trials[self._to_resume.popleft()]
            return self._start(trial, "retry" if self._began_here(trial) else "resume")
        step = self._scheduler.next(
            can_start=len(self.trials) < self.total, running=len(self._in_slots)
        )
        match step:
            case Promote() if step.trial in unwinding:
                return Wait()
            case Promote():
                return self._promote(step)
            case Start():
                return self._ask()
            case _:
                return step

    def on_report(
        self,
        trial_number: int,
        *,
        step: int,
        metrics: Mapping[str, float],
        checkpoint: str | None,
    ) -> Decision:
        """Take a report in and decide on it; durable before this returns."""
        trial = self._in_slot(trial_number)
        decision = self._report(trial, step, metrics, checkpoint)
        if self._cannot_judge(trial):
            self._no_objective(trial, {})
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
        trial = self._in_slot(trial_number)
        if self._fidelity is not None:
            self._on_rung(trial, self._fidelity, metrics, checkpoint)
            return
        value = trial.value
        if not any(report.value is not None for report in trial.reports.values()):
            value = metrics.get(self.objective.metric)
            if value is None:
                self._no_objective(trial, metrics)
                return
        if value is None or not math.isfinite(value):
            self._end(trial, Status.DIVERGED, cause="diverged", metrics=metrics)
        else:
            self._complete(trial, value, metrics)

    def on_error(
        self, trial_number: int, error: str, *, cause: str = "error", log: str | None = None
    ) -> None:
        """The task function raised.

        Args:
            trial_number: Which.
            error: The traceback.
            cause: `import` where something could not be imported.
            log: The file that holds the traceback too, for the message.

        Raises:
            SweepError: Too many trials failed; or this one could not import what it needs, and none
                has ever worked.
        """
        self._end(self._in_slot(trial_number), Status.FAILED, error=error, cause=cause)
        if cause == "import" and not any(map(_has_worked, self.trials)):
            raise SweepError(
                f"trial {trial_number} cannot import what it needs, so none can: "
                f"{headline(error)}" + (f"\nThe whole traceback is in {log}" if log else "")
            )
        self._check_failure_rate()

    def on_lost(self, trial_number: int, reason: str, *, counts: bool = True) -> None:
        """The slot died under the trial; it goes on from its checkpoint in another.

        Args:
            trial_number: Which.
            reason: For the record.
            counts: Whether the trial may be to blame; False when it had not begun.
        """
        trial = self._in_slot(trial_number)
        if counts:
            self._commit(Lost(trial=trial_number, reason=reason, time=self._clock()))
        if trial.losses > self.limits.max_losses:
            self.on_error(trial_number, reason, cause="lost")
        else:
            self._in_slots.remove(trial_number)
            self._to_resume.append(trial_number)

    # Inside

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
            value=metrics.get(self.objective.metric),
            checkpoint=checkpoint,
            decision=Decision.CONTINUE,
            several=bool(self.objective.others),
            fidelity=fidelity,
            time=self._clock(),
        )
        report = replace(report, decision=self._decide(report))
        self._commit(report)
        if report.decision in _ENDS:
            self._end_decided(trial, report)
        elif report.decision is Decision.PAUSE:
            self._in_slots.remove(trial.number)
        return report.decision

    def _on_rung(
        self,
        trial: Trial,
        fidelity: Fidelity,
        metrics: Mapping[str, float],
        checkpoint: str | None,
    ) -> None:
        """A segment that trained anew at a fidelity is over: its result is the rung's report."""
        if self.objective.metric not in metrics:
            self._no_objective(trial, metrics)
            return
        rung = self._rung(trial)
        decision = self._report(trial, rung, metrics, checkpoint, fidelity.value(rung))
        if decision is Decision.CONTINUE:
            self._in_slots.remove(trial.number)
            self._to_climb.append(trial.number)

    def _rung(self, trial: Trial) -> int:
        """The rung that the trial's segment trains for."""
        assert self._fidelity is not None
        resource = self._scheduler.milestone(trial.number)
        assert resource is not None, "a scheduler without milestones was given a fidelity"
        return self._fidelity.rung(resource)

    def _in_slot(self, number: int) -> Trial:
        """The trial, which a slot must be training: a word after its end would end it twice."""
        assert number in self._in_slots, f"trial {number} is in no slot"
        return self.trials[number]

    def _ask(self) -> Segment:
        number = len(self.trials)
        params = self._searcher.ask(number)
        distributions = {name: self._distributions[name] for name in params}
        self._commit(
            Asked(
                trial=number,
                run=self.trials.run,
                params=params,
                distributions=distributions,
                study=len(self.trials.spaces) - 1,
                notes=self._view.take_notes(),
                time=self._clock(),
            )
        )
        return self._segment(self.trials[number])

    def _began_here(self, trial: Trial) -> bool:
        return trial.run == self.trials.run

    def _promote(self, step: Promote) -> Segment:
        trial = self.trials[step.trial]
        return (
            self._start(trial, "promote")
            if step.exploit is None
            else self._copy(trial, step.exploit)
        )

    def _copy(self, trial: Trial, exploit: Exploit) -> Segment:
        """Let a trial go on from another's newest checkpoint, with parameters of its own."""
        source = self.trials[exploit.source]
        assert source.checkpoint is not None, f"trial {source.number} has nothing to go on from"
        segment = Segment(
            trial=trial.number,
            run=self.trials.run,
            values=self.trials.values(trial, exploit.params),
            checkpoint=None,
            exploits=len(trial.lineage) + 1,
        )
        self._commit(
            Started(
                trial=trial.number,
                run=self.trials.run,
                reason="exploit",
                checkpoint=self._adopt(source.checkpoint, segment),
                source=source.number,
                params=exploit.params,
                step=source.checkpoint_step,
                time=self._clock(),
            )
        )
        return self._segment(trial)

    def _start(self, trial: Trial, reason: Reason) -> Segment:
        self._commit(
            Started(
                trial=trial.number,
                run=self.trials.run,
                reason=reason,
                checkpoint=trial.checkpoint,
                time=self._clock(),
            )
        )
        return self._segment(trial)

    def _segment(self, trial: Trial) -> Segment:
        self._in_slots.add(trial.number)
        rung = self._rung(trial) if self._fidelity is not None else None
        return Segment(
            trial=trial.number,
            run=self.trials.run,
            values=self.trials.values(trial),
            checkpoint=trial.checkpoint if rung is None else None,
            rung=rung,
            fidelity=None if self._fidelity is None or rung is None else self._fidelity.value(rung),
            exploits=len(trial.lineage),
        )

    def _end_decided(self, trial: Trial, last: Reported) -> None:
        if last.value is not None and not math.isfinite(last.value):
            self._end(trial, Status.DIVERGED, cause="diverged")
        elif last.decision is Decision.COMPLETE:
            assert trial.value is not None, "a report with a finite value completed it"
            self._complete(trial, trial.value)
        else:
            self._end(trial, Status.STOPPED, value=trial.value)

    def _complete(
        self, trial: Trial, value: float, metrics: Mapping[str, float] | None = None
    ) -> None:
        """End a trial that has its value; with several objectives it needs all of them."""
        known = {**(metrics or {}), **(trial.best.metrics if trial.best else {})}
        missing = [o.metric for o in self.objective.others if o.metric not in known]
        if missing:
            self._no_objective(trial, metrics or {}, metric=missing[0])
            return
        others = tuple(known[o.metric] for o in self.objective.others)
        if not all(map(math.isfinite, others)):
            self._end(trial, Status.DIVERGED, cause="diverged", metrics=metrics)
            return
        self._end(trial, Status.COMPLETE, value=value, others=others, metrics=metrics)

    def _end(
        self,
        trial: Trial,
        status: Status,
        *,
        value: float | None = None,
        others: Sequence[float] = (),
        metrics: Mapping[str, float] | None = None,
        error: str | None = None,
        cause: str | None = None,
    ) -> None:
        self._in_slots.discard(trial.number)
        self._commit(
            Ended(
                trial=trial.number,
                status=status,
                value=value,
                others=others,
                metrics=metrics or {},
                error=error,
                cause=cause,
                time=self._clock(),
            )
        )

    def _cannot_judge(self, trial: Trial) -> bool:
        """Whether a trial went past a rung and never reported what it is compared by there."""
        rungs = self._scheduler.rungs()
        unseen = all(report.value is None for report in trial.reports.values())
        return bool(rungs) and unseen and trial.step > rungs[0]

    def _no_objective(
        self, trial: Trial, metrics: Mapping[str, float], *, metric: str | None = None
    ) -> None:
        metric = metric or self.objective.metric
        known = sorted({*metrics, *(m for r in trial.reports.values() for m in r.metrics)})
        got = f"it gave {', '.join(known)}" if known else "it reported and returned nothing"
        message = (
            f"hydra.sweeper.metric is {metric!r}, and trial {trial.number} came without it: "
            f"{got}{did_you_mean(metric, known)}"
        )
        self._end(trial, Status.FAILED, error=message, cause="no_metric", metrics=metrics)
        if metric not in self.trials.metric_names:
            raise SweepError(message)
        self._check_failure_rate()

    def _check_failure_rate(self) -> None:
        failed = self.trials.counts[Status.FAILED]
        ended = sum(n for status, n in self.trials.counts.items() if status.is_final)
        if ended >= 5 and failed / ended > self.limits.max_failure_rate:
            raise SweepError(
                f"{failed} of {ended} ended trials failed, more than "
                f"hydra.sweeper.max_failure_rate, {self.limits.max_failure_rate:g}, allows"
            )

    def _decide(self, report: Reported) -> Decision:
        """What the scheduler says; the one call that moves it, in a live sweep and in a replay."""
        if report.value is None:
            return Decision.CONTINUE
        anew = self._fidelity is not None  # each rung trains from the beginning
        seen = Observation(
            trial=report.trial,
            step=self._resource(report),
            loss=self.objective.loss(report.value),
            resumable=anew or report.checkpoint is not None,
        )
        (decision,) = self._scheduler.on_reports([seen])
        return decision

    def _resource(self, report: Reported) -> int:
        """The step as the scheduler counts it."""
        return report.step if self._fidelity is None else self._fidelity.resource(report.step)

    def _commit(self, event: Event) -> None:
        self._log.append(event)
        self._apply(event)
        for listener in self._listeners:
            listener(event, self.trials)

    def _replay(self, event: Event) -> None:
        if isinstance(event, Reported):
            self._decide(event)
        self._apply(event)

    def _apply(self, event: Event) -> None:
        self.trials.apply(event)
        self._view.apply(event)
        self._meter.apply(event, self.trials)
        match event:
            case Asked() | Started():
                self._can_reopen.discard(event.trial)
                self._on_start(event)
            case Ended() if self._may_reopen(event):
                self._can_reopen.add(event.trial)
                self._scheduler.on_reopen(event.trial)
            case Ended():
                self._scheduler.on_end(event.trial)

    def _on_start(self, event: Asked | Started) -> None:
        params = self.trials[event.trial].params
        if isinstance(event, Started) and event.source is not None and event.step is not None:
            self._scheduler.on_exploit(event.trial, params, source=event.source, step=event.step)
        else:
            self._scheduler.on_start(event.trial, params)

    def _may_reopen(self, event: Ended) -> bool:
        """Whether the trial was complete under a `max_t` that has been raised since."""
        last, max_t = self.trials[event.trial].last, self._scheduler.max_t
        if last is None or last.decision is not Decision.COMPLETE or max_t is None:
            return False
        return self._resource(last) < max_t


def check_grows(num_samples: int, trials: int) -> None:
    """See that a sweep is not asked to have fewer trials than it has.

    Raises:
        ConfigError: It is.
    """
    if num_samples < trials:
        raise ConfigError(
            f"hydra.sweeper.num_samples is {num_samples}, and the sweep has {trials} trials "
            f"already; it can only grow"
        )


def _has_worked(trial: Trial) -> bool:
    return bool(trial.reports) or trial.status is Status.COMPLETE
