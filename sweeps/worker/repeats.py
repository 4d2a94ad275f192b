"""A segment of a trial that is trained several times: the repeats in turn, told of as one.

Each repeat trains up to where the scheduler judges, and is unwound there with its checkpoint, as a
pause does. While the last of them trains, the driver hears the means over all at each step; where
it lets the trial go on, the repeats go on in turn. So no two means are over unequal numbers.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sweeps.core.repeats import Repeating, together
from sweeps.journal.objective import Objective
from sweeps.journal.status import Decision
from sweeps.planning.compose import with_also
from sweeps.session import OnDisk, Send, TrialEnded
from sweeps.storage.repeated import Standing, find_over, join, note_over, repeat_folder, split
from sweeps.worker.gathered import returned_metrics
from sweeps.worker.messages import Job

REPORTS = "reports.jsonl"
"""What a repeat reported, one line a report, in its job folder."""


@dataclass(frozen=True, kw_only=True)
class Turn:
    """A stretch of one repeat's training."""

    repeat: int
    folder: Path
    """Its job folder."""
    checkpoint: Path | None
    rungs: Sequence[int]
    """Where a checkpoint is worth its time."""


Run = Callable[[Turn, Send], Any]
"""(a turn, what answers its reports) -> what the task returned.

Raises TrialEnded where an answer was to end.
"""


class Repeats:
    """The repeats of one trial, for one segment."""

    def __init__(
        self,
        repeating: Repeating,
        *,
        objective: Objective,
        folder: Path,
        checkpoint: Path | None,
        best: float | None = None,
        best_step: int | None = None,
    ) -> None:
        """Nothing is trained or read yet.

        Args:
            repeating: How many, and when they take turns.
            objective: By which the best report is told.
            folder: The trial's job folder.
            checkpoint: The trial's, to go on from.
            best: The best mean so far.
            best_step: Its step, where its checkpoint is in this folder.
        """
        self._count, self._turns = repeating.count, repeating.turns
        self._objective = objective
        self._folder, self._checkpoint = folder, checkpoint
        self._best, self._best_step = best, best_step
        self._standings: Sequence[Standing]
        self._send: Send
        self.is_ending: Callable[[], bool] = lambda: False
        """Whether the segment is to end, although no report was answered so."""
        self._turn_is_over = self._is_decided = False
        self._is_all_kept = True
        """Whether the driver has heard of nothing that is not in the newest checkpoint."""

    def train(self, run: Run, send: Send) -> dict[str, float]:
        """Train them to their end; what their tasks returned, as means.

        Args:
            run: Trains one repeat for a turn.
            send: Hands the means to the driver.

        Raises:
            TrialEnded: The decision on a report was to end.
        """
        self._send = send
        self._standings = self._found()
        while left := [each for each in self._standings if not each.is_over]:
            end = self._turns.after(min(each.step for each in left))
            for repeat, each in enumerate(self._standings):
                if not each.is_over and (end is None or each.step < end):
                    self._train(repeat, end, run)
        return together([each.returned or {} for each in self._standings])

    def _found(self) -> Sequence[Standing]:
        """Where they stand."""
        if self._checkpoint is None:
            known = [Standing() for _ in range(self._count)]
        else:
            known = split(self._checkpoint)
        return [
            each if each.is_over else find_over(self._folder, repeat, self._newest) or each
            for repeat, each in enumerate(known)
        ]

    @property
    def _newest(self) -> str | None:
        """The trial's newest checkpoint, by run and step."""
        if self._checkpoint is None:
            return None
        return "/".join(self._checkpoint.parts[-3:])

    def _train(self, repeat: int, end: int | None, run: Run) -> None:
        """Let one of them take its turn."""
        each, best = self._standings[repeat], _Best(self._objective)
        turn = Turn(
            repeat=repeat,
            folder=repeat_folder(self._folder, repeat),
            checkpoint=each.checkpoint,
            rungs=sorted({*self._turns.rungs, *([] if end is None else [end])}),
        )

        def answer(
            step: int, metrics: dict[str, float], checkpoint: Path | None, can_wait: bool
        ) -> Decision:
            if self._turn_is_over or self._is_decided or self.is_ending():
                raise TrialEnded  # the task caught what should end it, or the segment ends
            _note(turn.folder / REPORTS, step, metrics)
            each.take(step, metrics, checkpoint)
            best.take(each, checkpoint)
            decision = self._judge(each, metrics, checkpoint, can_wait)
            at_end = end is not None and step >= end and checkpoint is not None
            if decision is Decision.CONTINUE and at_end and self._others_go_on(each):
                self._turn_is_over = True
                return Decision.PAUSE
            return decision

        self._turn_is_over = False
        try:
            result = run(turn, answer)
        except TrialEnded:
            if not self._turn_is_over:
                raise
            return
        except Exception as error:
            error.add_note(f"in repeat {repeat} of {self._count}, from 0")
            raise
        if self._is_decided:
            raise TrialEnded
        if not self._turn_is_over:
            best.settle(each)
            each.returned = returned_metrics(result)
            if self._is_all_kept:
                note_over(turn.folder, each, self._newest)
            if self._tell(each, None, can_wait=False) is not Decision.CONTINUE:
                raise TrialEnded

    def _others_go_on(self, each: Standing) -> bool:
        return any(not other.is_over for other in self._standings if other is not each)

    def _judge(
        self, each: Standing, metrics: Mapping[str, float], saved: Path | None, can_wait: bool
    ) -> Decision:
        """What becomes of the trial after one repeat's report; one that diverges ends them all."""
        name = self._objective.metric
        value = metrics.get(name)
        if value is None or math.isfinite(value):
            return self._tell(each, saved, can_wait=can_wait)
        return self._decided(self._send(each.step, {name: value}, None, False))

    def _decided(self, decision: Decision) -> Decision:
        self._is_decided = decision is not Decision.CONTINUE
        return decision

    def _tell(self, reporter: Standing, saved: Path | None, *, can_wait: bool) -> Decision:
        """Tell the driver of the steps that all have come to, while it lets them go on."""
        decision, ready = Decision.CONTINUE, list(self._ready())
        for step, metrics in ready:
            is_newest = saved is not None and step == reporter.step
            checkpoint = self._save(step, reporter) if is_newest else None
            decision = self._decided(self._tell_of(step, metrics, checkpoint, can_wait))
            if decision is not Decision.CONTINUE:
                break
        return decision

    def _ready(self) -> Iterator[tuple[int, dict[str, float]]]:
        """The reports that all have come to, ascending, as means; they wait no more.

        One that is over counts with its last report ever after.
        """
        while keys := [next(iter(each.waiting)) for each in self._standings if each.waiting]:
            key = min(keys)
            if not all(each.is_over or each.key >= key for each in self._standings):
                return
            found = [each.at(key) for each in self._standings]
            if None not in found:
                yield key[0], together([metrics for metrics in found if metrics is not None])

    def _save(self, step: int, reporter: Standing) -> Path | None:
        """The checkpoint of the trial; None where a repeat cannot go on from there."""
        if not all(each.can_go_on_from(step) for each in self._standings):
            return None
        place = self._folder / "checkpoints" / f"{step:06d}"
        join(self._standings, place)
        for repeat, each in enumerate(self._standings):
            own = repeat_folder(self._folder, repeat) / "checkpoints"
            if each is not reporter and own.is_dir():  # whose task may still use its own
                OnDisk().drop_others(own, set())
        return place

    def _tell_of(
        self, step: int, metrics: dict[str, float], checkpoint: Path | None, can_wait: bool
    ) -> Decision:
        value = metrics.get(self._objective.metric)
        finite = value is not None and math.isfinite(value)
        decision = self._send(step, metrics, checkpoint, can_wait and finite and not checkpoint)
        if value is not None and self._objective.replaces(value, self._best):
            self._best, self._best_step = value, step
        if checkpoint is not None:
            steps = {step, self._best_step} - {None}
            OnDisk().drop_others(checkpoint.parent, {f"{step:06d}" for step in steps})
            self._checkpoint = checkpoint
        self._is_all_kept = checkpoint is not None
        return decision


def of_turn(job: Job, turn: Turn, repeating: Repeating) -> Job:
    """What a lane or rank is to run for a turn of a trial's job."""
    return replace(
        job,
        folder=turn.folder,
        checkpoint=turn.checkpoint,
        patch=with_also(job.patch, repeating.settings(turn.repeat)),
        best=None,
        best_step=None,
        repeat=turn.repeat,
        rungs=turn.rungs,
    )


class _Best:
    """The best report of one repeat's turn, whose checkpoint its session keeps."""

    def __init__(self, objective: Objective) -> None:
        self._objective = objective
        self._metrics: Mapping[str, float] = {}
        self._checkpoint: Path | None = None

    def take(self, standing: Standing, checkpoint: Path | None) -> None:
        name, metrics = self._objective.metric, standing.metrics
        value = metrics.get(name)
        if value is None:
            return
        if self._objective.replaces(value, self._metrics.get(name)):
            self._metrics, self._checkpoint = metrics, checkpoint
        if self._objective.replaces(value, standing.best):
            standing.best = value

    def settle(self, standing: Standing) -> None:
        """Let a repeat that is over stand at its best."""
        if self._checkpoint is not None and self._checkpoint.is_dir():
            standing.checkpoint, standing.kept = self._checkpoint, self._metrics


def _note(file: Path, step: int, metrics: Mapping[str, float]) -> None:
    """Add a report to a repeat's own."""
    with file.open("a", encoding="utf-8") as lines:
        lines.write(json.dumps({"step": step, **metrics}) + "\n")
