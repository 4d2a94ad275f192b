"""A configuration that is trained several times as one trial: how, and what is told of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sweeps.searchers.base import seed_of

SPREAD = "_std"
"""Ends the name under which a metric's spread over the repeats stands."""

_GENERATORS, _SEEDS = 0x5EED, 0x2E9EA7
"""Set the seeds of repeats apart from all others that are drawn from a sweep's."""
_HIGHEST_SEED = 2**31 - 1
"""What NumPy's and torch's older generators take, and 32 bit integers hold."""


@dataclass(frozen=True)
class Turns:
    """At which steps the repeats of a trial take turns: where a scheduler judges.

    One that judges every report is not waited for at each: turns cost a start of the task. They
    double instead, so that of a trial that it stops at most half was trained in vain.
    """

    rungs: Sequence[int] = ()
    """Ascending."""
    doubling_from: int | None = None

    def after(self, step: int) -> int | None:
        """The end of the turn that begins behind a step; None where it is the task's own."""
        ends = [rung for rung in self.rungs if rung > step][:1]
        if self.doubling_from is not None:
            ends.append(max(self.doubling_from, 2 * step))
        return min(ends, default=None)


@dataclass(frozen=True, kw_only=True)
class Repeating:
    """How the trials of a sweep are repeated."""

    count: int
    key: str | None = None
    """The key of the app's config, as an override, that tells the repeats apart."""
    values: Sequence[Any] = ()
    """What each repeat finds there."""
    turns: Turns = Turns()

    def settings(self, repeat: int) -> dict[str, Any]:
        """What a repeat sets besides the trial's parameters: override key -> value."""
        return {} if self.key is None else {self.key: self.values[repeat]}


def repeat_seed(seed: int, trial: int, repeat: int) -> int:
    """The seed of the generators of one of a trial's repeats."""
    return seed_of(seed, trial, repeat, _GENERATORS)


def seeds_for_apps(seed: int, count: int) -> list[int]:
    """The first so many seeds for the key of an app: the same for all trials of a sweep.

    Trials so differ in their parameters alone, and more seeds begin with the same ones.
    """
    return [seed_of(seed, repeat, _SEEDS) & _HIGHEST_SEED for repeat in range(count)]


def together(repeats: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The mean of each metric that every repeat gave, and its sample standard deviation.

    The latter is called `<metric>_std`, unless the app gives a metric of that name itself. What is
    not finite in one repeat is not finite in the mean.
    """
    first, *others = repeats
    shared = {
        name: [first[name], *(other[name] for other in others)]
        for name in first
        if all(name in other for other in others)
    }
    found: dict[str, float] = {}
    with np.errstate(all="ignore"):
        for name, values in shared.items():
            found[name] = float(np.mean(values))
            if (spread := f"{name}{SPREAD}") not in shared:
                found[spread] = float(np.std(values, ddof=1))
    return found
