"""How a trial ends: with which status, value and reason, from what is known of it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sweeps.core.limits import Limits
from sweeps.core.memory import OUT_OF_MEMORY
from sweeps.errors import did_you_mean
from sweeps.journal.events import Ended, Reported
from sweeps.journal.objective import Objective
from sweeps.journal.status import BY_REQUEST, Decision, Status
from sweeps.journal.trials import Trial

FINAL = (Decision.STOP, Decision.COMPLETE)
"""Decisions that end a trial."""


@dataclass(frozen=True, kw_only=True)
class End:
    """A trial's end, before it is an event; the fields are those of `Ended`."""

    status: Status
    value: float | None = None
    others: Sequence[float] = ()
    metrics: Mapping[str, float] = field(default_factory=dict)
    error: str | None = None
    cause: str | None = None
    missing: str | None = None
    """The objective's metric, where the trial failed because it never gave that."""

    def event(self, trial: int, time: float) -> Ended:
        """The end of that trial at that time."""
        return Ended(
            trial=trial,
            status=self.status,
            value=self.value,
            others=self.others,
            metrics=self.metrics,
            error=self.error,
            cause=self.cause,
            time=time,
        )


class Ends:
    """The ends of a sweep's trials; it changes nothing."""

    def __init__(self, objective: Objective, limits: Limits) -> None:
        self._objective = objective
        self._limits = limits

    def decided(self, trial: Trial, last: Reported) -> End:
        """A report's decision was final."""
        if last.value is not None and not math.isfinite(last.value):
            return End(status=Status.DIVERGED, cause="diverged")
        if last.decision is Decision.COMPLETE:
            assert trial.value is not None, "a report with a finite value completed it"
            return self._complete(trial, trial.value, {})
        if trial.stopping:
            return self.stopped(trial)
        if self._limits.is_over_time(trial.seconds):
            return self.over_time(trial)
        return End(status=Status.STOPPED, value=trial.value)

    def returned(self, trial: Trial, metrics: Mapping[str, float]) -> End:
        """The task function returned these metrics, where the fidelity is the step."""
        value = trial.value
        if not any(report.value is not None for report in trial.reports.values()):
            value = metrics.get(self._objective.metric)
            if value is None:
                return self.without(self._objective.metric, trial, metrics)
        if value is None or not math.isfinite(value):
            return End(status=Status.DIVERGED, cause="diverged", metrics=metrics)
        return self._complete(trial, value, metrics)

    def stopped(self, trial: Trial) -> End:
        """Somebody asked for it: it ends with the value that it has."""
        return End(status=Status.STOPPED, value=trial.value, cause=BY_REQUEST)

    def interrupted(self, trial: Trial) -> End | None:
        """A driver died while the trial ran; None where it may go on."""
        if trial.last is not None and trial.last.decision in FINAL:
            return self.decided(trial, trial.last)  # but the end was not yet written
        return self.lost(trial, f"lost {trial.losses} times")

    def lost(self, trial: Trial, reason: str) -> End | None:
        """The slot died under the trial; None where it may go on.

        One that was lost too often diverged, if that was mostly for its memory.
        """
        if trial.stopping:
            return self.stopped(trial)
        if trial.losses > self._limits.max_losses:
            if 2 * trial.memory_losses > trial.losses:
                return End(status=Status.DIVERGED, error=reason, cause=OUT_OF_MEMORY)
            return End(status=Status.FAILED, error=reason, cause="lost")
        if self._limits.is_over_time(trial.seconds):
            return self.over_time(trial)
        return None

    def over_time(self, trial: Trial) -> End:
        """The trial's time is up: it ends with the value that it has, else as a failure."""
        if trial.stopping:
            return self.stopped(trial)
        if trial.value is not None:
            return End(status=Status.STOPPED, value=trial.value, cause="time_limit")
        message = (
            f"it trained for longer than hydra.sweeper.trial_time_limit_s, "
            f"{self._limits.trial_time_limit_s:g} s, and never reported {self._objective.metric}"
        )
        return End(status=Status.FAILED, error=message, cause="time_limit")

    def without(self, metric: str, trial: Trial, metrics: Mapping[str, float]) -> End:
        """An objective's metric came neither with a report nor with what was returned."""
        known = sorted({*metrics, *(m for r in trial.reports.values() for m in r.metrics)})
        got = f"it gave {', '.join(known)}" if known else "it reported and returned nothing"
        message = (
            f"hydra.sweeper.metric is {metric!r}, and trial {trial.number} came without it: "
            f"{got}{did_you_mean(metric, known)}"
        )
        return End(
            status=Status.FAILED, error=message, cause="no_metric", metrics=metrics, missing=metric
        )

    def _complete(self, trial: Trial, value: float, metrics: Mapping[str, float]) -> End:
        """The trial has its value; with several objectives it needs all of them."""
        known = {**metrics, **(trial.best.metrics if trial.best else {})}
        for objective in self._objective.others:
            if objective.metric not in known:
                return self.without(objective.metric, trial, metrics)
        others = tuple(known[objective.metric] for objective in self._objective.others)
        if not all(map(math.isfinite, others)):
            return End(status=Status.DIVERGED, cause="diverged", metrics=metrics)
        return End(status=Status.COMPLETE, value=value, others=others, metrics=metrics)
