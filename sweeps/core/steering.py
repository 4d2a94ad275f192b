"""What may be asked of a sweep that runs: the rules that its driver and who asks both hold to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sweeps.core.bounds import check_bounds
from sweeps.core.budget import Budget
from sweeps.errors import ConfigError, SweepError
from sweeps.journal.events import Requested
from sweeps.journal.trials import Trials
from sweeps.searchers.initial import completed, given_point
from sweeps.storage.folder import SweepFolder

_ENUMERATES = {"grid": "the searcher grid tries every combination as it is"}
ACTIONS = ("stop", "enqueue", "extend")


def no_points(searcher: str, folder: SweepFolder) -> str | None:
    """Why no configuration can be enqueued in a sweep; None where one can."""
    if folder.roster.exists():
        return "a retest trains the configurations that it was begun with"
    return _ENUMERATES.get(searcher)


@dataclass(frozen=True, kw_only=True)
class Steering:
    """What a sweep can be asked for."""

    budget: Budget = field(default_factory=Budget)
    """What its command says."""
    seed: int = 0
    no_points: str | None = None
    """Why no configuration can be enqueued, if so."""

    def answer(
        self, request: str, asked: Mapping[str, Any], trials: Trials, now: float
    ) -> Requested:
        """What becomes of a request, before it is an event in the journal."""
        trial, refusal = None, None
        try:
            trial = self.check(asked, trials)
        except (ConfigError, SweepError) as error:
            refusal = str(error)
        return Requested(request=request, asked=asked, trial=trial, refusal=refusal, time=now)

    def check(self, asked: Mapping[str, Any], trials: Trials) -> int | None:
        """See that what is asked can be done; the trial that it is about, or None.

        Args:
            asked: As in `Requested`; whatever somebody wrote.
            trials: How the sweep stands.

        Raises:
            ConfigError: It never could.
            SweepError: It comes too late.
        """
        try:
            return self._check(asked, trials)
        except OverflowError as error:
            raise ConfigError(f"a number in it is too large: {error}") from error

    def _check(self, asked: Mapping[str, Any], trials: Trials) -> int | None:
        match asked:
            case {"stop": int() as number, **rest} if not rest and number is not True:
                return self._check_stop(number, trials)
            case {"enqueue": dict() as values, **rest} if not rest:
                return self._check_point(values, trials)
            case {"extend": dict() as bounds, **rest} if bounds and not rest:
                total = trials.steered.next_free(len(trials))
                check_bounds(bounds, trials=total, budget=self.budget)
                return None
        raise ConfigError(f"it cannot be read; it must be a mapping of one of {', '.join(ACTIONS)}")

    def _check_stop(self, number: int, trials: Trials) -> int:
        if not 0 <= number < len(trials):
            there = f"trials 0 to {len(trials) - 1}" if len(trials) else "no trial yet"
            raise ConfigError(f"there is no trial {number}: the sweep has {there}")
        trial = trials[number]
        if trial.status.is_final:
            raise SweepError(f"trial {number} is over: it is {trial.status}")
        if trial.stopping:
            raise SweepError(f"trial {number} was asked to stop already")
        return number

    def _check_point(self, values: Mapping[str, Any], trials: Trials) -> int:
        if self.no_points is not None:
            raise ConfigError(f"nothing can be enqueued: {self.no_points}")
        space, number = trials.spaces[-1], trials.steered.next_free(len(trials))
        point = given_point(values, space, what="what is enqueued")
        if space.constraints and completed(point, space, self.seed, number) is None:
            raise ConfigError(
                f"what is enqueued: no configuration with {dict(values)} meets the constraints "
                f"{', '.join(repr(constraint.text) for constraint in space.constraints)}"
            )
        return number
