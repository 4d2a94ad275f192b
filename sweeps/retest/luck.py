"""What a retest warns of: a winner that was lucky, and what its numbers cannot tell."""

from __future__ import annotations

from collections.abc import Iterator

from sweeps import render
from sweeps.journal.status import Status
from sweeps.retest.results import Configuration, Retest
from sweeps.retest.statistics import LEVEL, most_coverage

_FEW = 5
"""Fewer seeds than this make an interval that is too short, whatever is done about it."""


def warnings(retest: Retest) -> list[str]:
    """What to know of a retest's numbers, the most important first."""
    said = [*_unfinished(retest), *_luck(retest), *_lost(retest), *_same(retest), *_few(retest)]
    if retest.objective.others:
        others = ", ".join(o.metric for o in retest.objective.others)
        said.append(
            f"of the sweep's objectives {retest.objective.metric} alone is compared; the "
            f"configurations are the best by all of them, and {others} of each run is in the "
            f"tables of {retest.folder.place}"
        )
    return said


def _unfinished(retest: Retest) -> Iterator[str]:
    if not retest.is_done:
        yield (
            f"{retest.ended} of {retest.total} runs have ended: these numbers will change; the "
            f"same command goes on"
        )


def _luck(retest: Retest) -> Iterator[str]:
    """Of the sweep's winner: what regressed to the mean, and who is likelier best."""
    winner, metric = retest.winner, retest.objective.metric
    if winner.mean is None:
        return
    if is_overstated(retest, winner):
        assert winner.interval is not None
        low, high = map(render.number, winner.interval)
        yield (
            f"trial {winner.trial}, the sweep's best, had luck: its {metric} was "
            f"{render.number(winner.entry.value)}, and with other seeds its mean is "
            f"{render.number(winner.mean)}, {LEVEL:.0%} interval {low} to {high}"
        )
    rivals = [c for c in retest.configurations if (c.chance or 0) > (winner.chance or 0)]
    if winner.chance is not None and rivals:
        likelier = max(rivals, key=lambda c: c.chance or 0)
        yield (
            f"trial {likelier.trial} is likelier the best than the sweep's trial {winner.trial}: "
            f"{percent(likelier.chance)} against {percent(winner.chance)}"
        )


def is_overstated(retest: Retest, of: Configuration) -> bool:
    """Whether the sweep's value is better than all of the retest's interval.

    The best of many is chosen by value and luck alike, and luck does not come again: regression to
    the mean. A value from fewer steps than the retest's is not compared.
    """
    if of.interval is None or (retest.max_t is not None and of.entry.step < retest.max_t):
        return False
    best_end = min(of.interval, key=retest.objective.loss)
    return retest.objective.is_better(of.entry.value, best_end)


def _lost(retest: Retest) -> Iterator[str]:
    for configuration in retest.configurations:
        lost = {s: configuration.lost(s) for s in (Status.FAILED, Status.DIVERGED)}
        if any(lost.values()):
            counted = " and ".join(f"{n} {status}" for status, n in lost.items() if n)
            begun = len(configuration.runs)
            others = "of none" if not configuration.values else "of the others alone"
            yield (
                f"of {begun} runs of trial {configuration.trial} {counted}: its mean is {others}, "
                f"and better than what one can expect of it"
            )


def _same(retest: Retest) -> Iterator[str]:
    several = [c for c in retest.configurations if len(c.values) > 1]
    if several and all(c.spread == 0 for c in several):
        key = retest.roster.seed_key or "seed"
        yield (
            f"all runs of a configuration gave the same value: {key} changes nothing; name the "
            f"key that does with --seed-key, in a new retest"
        )


def _few(retest: Retest) -> Iterator[str]:
    count = max((len(c.values) for c in retest.configurations), default=0)
    if count == 1:
        yield "one seed each tells no spread, interval or chance: retest with --seeds 5"
    elif 1 < count < _FEW:
        yield (
            f"with {count} seeds an interval holds the true mean in at most "
            f"{percent(most_coverage(count))} of cases, for it ends at the best and the worst run: "
            f"add some with --seeds {_FEW}"
        )


def percent(share: float | None) -> str:
    """`62%`; what is certain to neither side is not rounded to it."""
    if share is None:
        return "-"
    if 0 < share < 0.005:
        return "<1%"
    return ">99%" if 0.995 <= share < 1 else f"{share:.0%}"
