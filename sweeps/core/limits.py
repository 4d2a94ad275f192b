"""What bounds a sweep and its trials."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from sweeps.errors import ConfigError, SweepError
from sweeps.journal.status import Status
from sweeps.journal.trials import Trial

_ENOUGH_TO_JUDGE = 5
"""Trials that must have ended or paused before their failures say anything."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What bounds a sweep."""

    num_samples: int
    time_budget_s: float | None = None
    """How long a driver may run it."""
    max_losses: int = 3
    """How often a trial may lose its process or node before it counts as failed."""
    max_retries: int = 0
    """How often a trial whose task raised goes on from its newest checkpoint."""
    retry_backoff_s: float = 1.0
    """How long it waits for that the first time; twice as long each further time."""
    trial_time_limit_s: float = math.inf
    """How long a trial may train, pauses not counted."""
    teardown_timeout_s: float = 30.0
    """How long one that is to stop by request may train without a report."""
    max_failure_rate: float = 1.0
    """Share of trials that may fail, of those that have ended or paused; judged from five on."""

    def is_over_time(self, seconds: float) -> bool:
        """Whether that is longer than a trial may train."""
        return seconds > self.trial_time_limit_s

    def may_retry(self, trial: Trial, now: float) -> bool:
        """Whether a trial whose task raised just now may go on."""
        in_time = not self.is_over_time(trial.seconds_at(now))
        return in_time and len(trial.failures) < self.max_retries

    def check_failures(self, counts: Mapping[Status, int], *, failed_now: bool) -> None:
        """See that not too many trials have failed.

        Only a failure tells something new, once there are enough to judge: a sweep that was mended
        goes on though many failed before.

        Args:
            counts: How many trials stand at each status.
            failed_now: Whether the trial that has just ended or paused failed.

        Raises:
            SweepError: They have.
        """
        failed = counts.get(Status.FAILED, 0)
        tried = sum(n for s, n in counts.items() if s.is_final or s is Status.PAUSED)
        if tried < _ENOUGH_TO_JUDGE or (tried > _ENOUGH_TO_JUDGE and not failed_now):
            return
        if failed / tried > self.max_failure_rate:
            raise SweepError(
                f"{failed} of {tried} trials that ended or paused failed, more than "
                f"hydra.sweeper.max_failure_rate, {self.max_failure_rate:g}, allows"
            )


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
