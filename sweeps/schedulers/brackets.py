"""Synchronous brackets: what successive halving and Hyperband share.

A bracket starts with n configurations. They pause at each rung; when all that were on their way to
it have come, the best go on. That is the inner loop of Hyperband's algorithm 1 (Li et al., JMLR 18,
2018), and successive halving (Jamieson & Talwalkar, AISTATS 2016).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sweeps.journal.status import Decision
from sweeps.schedulers.base import Done, Next, Observation, Promote, Scheduler, Start, Wait
from sweeps.schedulers.rung import Ladder


@dataclass(frozen=True)
class Level:
    """A row of a bracket's table."""

    configurations: int
    """n_i in the paper."""
    step: int
    """r_i in the paper."""


Table = Sequence[Level]


def table(n: int, steps: Sequence[int], reduction_factor: int) -> Table:
    """A bracket of `n` configurations: one in `reduction_factor` goes on from each step."""
    return [Level(n // reduction_factor**i, step) for i, step in enumerate(steps)]


def hyperband_size(s: int, s_max: int, reduction_factor: int) -> int:
    """How many configurations start in the bracket that halves `s` times; see `Hyperband`."""
    return int((s_max + 1) // (s + 1) * reduction_factor**s)


class Bracket:
    """One bracket: its rungs, and who is on the way."""

    def __init__(self, table: Table) -> None:
        self._sizes = [level.configurations for level in table]
        self.ladder = Ladder([level.step for level in table])
        self._started = 0
        self._on_the_way: list[set[int]] = [set() for _ in table]
        """By index of a step: the trials that train up to it now."""

    @property
    def is_full(self) -> bool:
        """Whether all its configurations have started."""
        return self._started == self._sizes[0]

    @property
    def is_over(self) -> bool:
        """Whether nothing will ever come of it again."""
        return self.is_full and not any(self._on_the_way) and self.promotable(filling=False) is None

    def add(self) -> None:
        """Make room for a new configuration, which starts next."""
        self._started += 1

    def start(self, trial: int) -> None:
        """A segment of the trial begins."""
        self.ladder.start(trial)
        self._on_the_way[self.ladder.next_rung(trial)].add(trial)

    def on_report(self, seen: Observation) -> Decision:
        """Pause at a rung, complete at the last step."""
        self._halt(seen.trial)
        rung = self.ladder.climb(seen)
        if seen.diverged:
            return Decision.STOP
        if seen.step >= self.ladder.max_t:
            return Decision.COMPLETE
        if rung is not None and seen.resumable:
            return Decision.PAUSE
        self.start(seen.trial)
        return Decision.CONTINUE

    def end(self, trial: int) -> None:
        """The trial ended; on its way, it counts as the last to come."""
        if self._halt(trial):
            self.ladder.fail(trial)
        self.ladder.end(trial)

    def withdraw(self, trial: int) -> None:
        """The trial was stopped by request: on its way it counts as the last to come, and where it
        waits the others are ranked without it."""
        if self._halt(trial):
            self.ladder.fail(trial)
            self.ladder.end(trial)
        else:
            self.ladder.withdraw(trial)

    def _halt(self, trial: int) -> bool:
        way = self._on_the_way[self.ladder.next_rung(trial)]
        was_there = trial in way
        way.discard(trial)
        return was_there

    def promotable(self, *, filling: bool) -> int | None:
        """The best trial to go on with: from the lowest rung, once that is complete.

        A rung at which fewer came than the table says promotes its share of them, and at least one:
        so every bracket trains a configuration to the end.

        Args:
            filling: Whether more configurations may start; where not, what is there is all.
        """
        if filling and not self.is_full:
            return None
        for index, rung in enumerate(self.ladder.rungs):
            if self._on_the_way[index]:
                return None
            share = len(rung) * self._sizes[index + 1] // self._sizes[index]
            trial = rung.promotable(max(1, share))
            if trial is not None:
                return trial
        return None


class Synchronous(Scheduler):
    """Brackets one after another; a free slot promotes from the oldest that can.

    A slot that would wait for a rung to fill starts a configuration of the next bracket instead: no
    slot idles until the last bracket. When no more may start, that one closes its rungs with what
    is there; a sweep that is extended fills it up first. What failed or diverged counts as arrived
    and ranks last. A trial without checkpoints cannot pause, and a rung that is still filling
    cannot judge it: it runs on to `max_t`, since to stop it would leave nothing trained beyond the
    first rung. `max_t` cannot be raised: that would change the brackets already run.
    """

    judges_between_rungs = False
    without_checkpoint = "runs on to max_t; the scheduler asha_stop needs no checkpoints"

    def __init__(self, tables: Sequence[Table]) -> None:
        self.tables = tables
        """The brackets' tables, in the order in which brackets open, over and over."""
        self.max_t: int = tables[0][-1].step
        self._opened = 0
        self._newest: Bracket | None = None
        self._open: list[Bracket] = []
        """Those of which something may yet come, the oldest first."""
        self._bracket: dict[int, Bracket] = {}

    def rungs(self) -> list[int]:
        """The steps of the rungs of all brackets, and `max_t`."""
        return sorted({level.step for table in self.tables for level in table})

    @property
    def full_round(self) -> int:
        """How many trials fill each bracket once."""
        return sum(table[0].configurations for table in self.tables)

    def filled(self, trials: int) -> str:
        """How far so many trials come in the first round, in words."""
        for number, table in enumerate(self.tables, start=1):
            size = table[0].configurations
            if trials < size:
                return (
                    f"bracket {number} of {len(self.tables)} gets {trials} of its {size}, and of "
                    f"these its share goes on from each rung, but always one"
                )
            trials -= size
            if not trials:
                return f"it ends with bracket {number} of {len(self.tables)}"
        return "every bracket is filled"

    def describe(self) -> str:
        """The brackets' tables, as `trials @ step`."""
        tables = (
            " > ".join(f"{level.configurations} @ {level.step}" for level in table)
            for table in self.tables
        )
        return (
            f"in brackets (trials @ step) {'; '.join(tables)}: a full round takes {self.full_round}"
        )

    def milestone(self, trial: int) -> int:
        """The rung that the trial reaches next."""
        return self._bracket[trial].ladder.milestone(trial)

    def on_start(self, trial: int, params: Mapping[str, Any]) -> None:
        """Put a new trial into the bracket that fills; note a promotion."""
        if trial not in self._bracket:
            self._bracket[trial] = self._filling()
            self._bracket[trial].add()
        self._bracket[trial].start(trial)

    def _filling(self) -> Bracket:
        if self._newest is None or self._newest.is_full:
            self._newest = Bracket(self.tables[self._opened % len(self.tables)])
            self._open.append(self._newest)
            self._opened += 1
        return self._newest

    def on_reports(self, observations: Sequence[Observation]) -> list[Decision]:
        """Pause at a rung, complete at `max_t`."""
        return [self._on_report(observation) for observation in observations]

    def _on_report(self, seen: Observation) -> Decision:
        bracket = self._bracket[seen.trial]
        decision = bracket.on_report(seen)
        self._close_if_over(bracket)
        return decision

    def on_end(self, trial: int) -> None:
        """Count it as arrived at the rung that it was on its way to."""
        bracket = self._bracket[trial]
        bracket.end(trial)
        self._close_if_over(bracket)

    def on_withdraw(self, trial: int) -> None:
        """Go on without it."""
        bracket = self._bracket[trial]
        bracket.withdraw(trial)
        self._close_if_over(bracket)

    def _close_if_over(self, bracket: Bracket) -> None:
        if bracket in self._open and bracket.is_over:
            self._open.remove(bracket)

    def next(self, *, can_start: bool, running: int) -> Next:
        """Promote from the oldest bracket that can, else start, else wait."""
        for bracket in self._open:
            trial = bracket.promotable(filling=can_start)
            if trial is not None:
                return Promote(trial)
        if can_start:
            return Start()
        return Wait() if running else Done()
