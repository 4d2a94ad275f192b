"""Leaving out evenly what a plot of many trials does not need, so that its page stays small."""

from __future__ import annotations

from collections.abc import Iterable

from sweeps.journal.trials import Trial
from sweeps.results import SweepResults


def evenly(count: int, most: int) -> list[int]:
    """At most so many of the places 0 to `count` - 1, evenly apart; the first and the last too."""
    if count <= most:
        return list(range(count))
    if most < 2:
        return list(range(most))
    return [round(i * (count - 1) / (most - 1)) for i in range(most)]


def sample(sweep: SweepResults, trials: Iterable[Trial], most: int) -> list[Trial]:
    """At most so many of the trials, by number: the best tenth of them, and of the rest evenly."""
    given = {trial.number: trial for trial in trials}
    if len(given) <= most:
        return [given[number] for number in sorted(given)]
    best = [trial.number for trial in sweep.ranked() if trial.number in given][: most // 10]
    rest = sorted(given.keys() - set(best))
    kept = {*best, *(rest[i] for i in evenly(len(rest), most - len(best)))}
    return [given[number] for number in sorted(kept)]
