"""What a sweep's trials took, of what full runs would have taken; and what went wrong."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

from sweeps.errors import ConfigError, headline
from sweeps.journal.status import Status
from sweeps.journal.trials import Trial
from sweeps.results.diff import config_of, flat_config
from sweeps.results.sweep import SweepResults

_EPOCHS = re.compile(r"(max|num|n|total|train|num_train)?_?epochs?")


@dataclass(frozen=True, kw_only=True)
class Effort:
    """Steps spent, those trained again not counted."""

    steps: int
    full: int | None
    """What as many full runs take, where the scheduler says how long one is."""
    word: str
    """What the app counts: epochs or steps."""

    @property
    def share(self) -> float | None:
        """Of full runs."""
        return self.steps / self.full if self.full else None

    def __str__(self) -> str:
        if not self.full:
            return f"{self.steps} {self.word}"
        return f"{self.steps} of the {self.full} {self.word} that full runs take, {self.share:.0%}"


def effort(sweep: SweepResults) -> Effort:
    """What a sweep's trials took so far."""
    full = len(sweep.trials) * sweep.max_t if sweep.max_t else None
    return Effort(steps=sweep.trials.steps, full=full, word=_word(sweep))


def _word(sweep: SweepResults) -> str:
    """Epochs, where the best trial's config says how many there are, and it reported no more."""
    trial = sweep.best
    if trial is None or not trial.reports:
        return "steps"
    with suppress(ConfigError):  # a config that cannot be read says nothing
        for key, value in flat_config(config_of(sweep, trial) or {}):
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            if is_number and _EPOCHS.fullmatch(key.rpartition(".")[2]) and value >= trial.step:
                return "epochs"
    return "steps"


@dataclass(frozen=True, kw_only=True)
class Trouble:
    """What went wrong in a sweep."""

    failed: int
    """Trials."""
    retried: int
    """Times that a task raised and was tried again."""
    lost: int
    """Times that a trial's process or node died under it."""
    preempted: int
    """Times that a trial's node was taken away: nobody's failure."""
    cause: str | None
    """Why trials failed or tasks raised, most often: the first such error, in a line."""

    @property
    def any(self) -> bool:
        """Whether anything did."""
        return bool(self.failed or self.retried or self.lost or self.preempted)


def trouble(sweep: SweepResults) -> Trouble:
    """What went wrong so far."""
    trials = list(sweep.trials)
    causes = [cause for trial in trials for cause in _causes(trial)]
    kinds = Counter(map(_kind, causes))
    most = max(kinds, key=kinds.__getitem__, default=None)
    return Trouble(
        failed=sum(trial.status is Status.FAILED for trial in trials),
        retried=sum(len(trial.failures) for trial in trials),
        lost=sum(trial.losses for trial in trials),
        preempted=sum(trial.preemptions for trial in trials),
        cause=next((cause for cause in causes if _kind(cause) == most), None),
    )


def _causes(trial: Trial) -> Iterator[str]:
    """Why a trial failed, and why its task raised before."""
    yield from (headline(lost.reason) or lost.cause for lost in trial.failures)
    if trial.status is Status.FAILED:
        yield headline(trial.error) or trial.cause or "no reason given"


def _kind(cause: str) -> str:
    """An error's class: what it says differs from trial to trial."""
    return cause.partition(":")[0]
