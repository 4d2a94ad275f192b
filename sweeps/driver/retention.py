"""Which checkpoints stay on disk while a sweep runs, and after it."""

from __future__ import annotations

import bisect
from collections.abc import Iterator
from pathlib import PurePosixPath

from sweeps.driver.disposal import Needed, disposal
from sweeps.journal.events import Asked, Closed, Ended, Event, Lost, Opened, Reported, Started
from sweeps.journal.status import Decision, Status
from sweeps.journal.trials import Trial, Trials
from sweeps.storage.folder import SweepFolder

Losses = tuple[float, ...]
"""By objective; less is better."""


class Retention:
    """Deletes the checkpoints that nothing needs any more; an engine's listener.

    What stays: of a trial that may go on, its newest, also after the sweep, which can be extended;
    of the `keep` best trials, the one that their best report names (where there is none, their
    newest). The best are counted twice, among all trials and among those that have ended: one that
    still trains may yet fail, and what it outdid is then the best again. All others go, those of
    failed and diverged trials too. With several objectives the trials on the Pareto front are among
    the best as well.

    While a trial trains, its worker keeps the newest and the best, and deletes the one before when
    the newer is in the journal (`sweeps.session`); this class does the rest. So there are never
    more than

        (paused trials and those that wait to go on) + 3 * (slots) + 2 * keep

    of them: a slot's trial has its newest, its best, and the one being written. After the end it is
    paused trials + 2 * keep at most, and exactly `keep` where nothing is paused. With several
    objectives the front's come on top.

    Nothing is deleted before the event that made it superfluous is durable. What a killed driver or
    worker left (a checkpoint that no report names, one half deleted) goes when the next driver
    opens the sweep, or when this one closes it.
    """

    def __init__(self, folder: SweepFolder, *, keep: int) -> None:
        self._disposal = disposal(folder)
        self._all = _Ranking(keep)
        self._ended = _Ranking(keep)
        self._front = _Front()
        self._training: dict[int, set[PurePosixPath]] = {}
        """By trial in a slot: the folders that its checkpoints were in when its segment began."""

    def __call__(self, event: Event, trials: Trials) -> None:
        """Delete what an event has made superfluous."""
        match event:
            case Opened():
                self._begin(trials)
            case Closed():
                self._clean_all(trials)
            case Asked() | Started():
                self._training[event.trial] = _folders_of(trials[event.trial])
                self._rank(trials, event.trial)
            case Reported():
                self._on_reported(event, trials)
            case Lost() | Ended():
                self._training.pop(event.trial, None)
                self._rank(trials, event.trial)
                self._clean(trials[event.trial])

    def _begin(self, trials: Trials) -> None:
        self._training.clear()
        for trial in trials:
            self._place(trials, trial)
        self._clean_all(trials)

    def _clean_all(self, trials: Trials) -> None:
        self._disposal.clean_all(map(self._needed, trials))

    def _on_reported(self, event: Reported, trials: Trials) -> None:
        trial = trials[event.trial]
        if event.decision is Decision.PAUSE:
            self._training.pop(event.trial, None)
        self._rank(trials, event.trial)
        if event.decision is Decision.PAUSE or self._left_others(event):
            self._clean(trial)

    def _left_others(self, event: Reported) -> bool:
        """Whether the trial may have checkpoints elsewhere than where its worker sees to them.

        So it is where it began under another driver.
        """
        if event.checkpoint is None:
            return False
        return bool(self._training[event.trial] - {PurePosixPath(event.checkpoint).parent})

    def _rank(self, trials: Trials, number: int) -> None:
        outdone = self._place(trials, trials[number])
        for other in outdone - {number} - self._training.keys():  # those may be writing
            self._clean(trials[other])

    def _place(self, trials: Trials, trial: Trial) -> set[int]:
        """Note how good a trial is now; which others are not among the best any more."""
        entry, losses = _entry(trials, trial), _losses(trials, trial)
        outdone = self._all.put(trial.number, entry)
        outdone |= self._ended.put(trial.number, entry if trial.status.is_final else None)
        return outdone | self._front.put(trial.number, losses)

    def _clean(self, trial: Trial) -> None:
        """Delete what is there of a trial and need not be; none of its workers may be writing."""
        self._disposal.clean(self._needed(trial))

    def _needed(self, trial: Trial) -> Needed:
        is_best = any(trial.number in best for best in (self._all, self._ended, self._front))
        return Needed(
            trial=trial.number,
            newest=None if trial.status.is_final else trial.checkpoint,
            best=(trial.best_checkpoint, trial.checkpoint) if is_best else (),
            reported={report.checkpoint for report in trial.reports.values()},
        )


class _Ranking:
    """The best trials by (loss, number), of any number of them."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._ranked: list[tuple[float, int]] = []
        self._entries: dict[int, tuple[float, int]] = {}

    def put(self, number: int, entry: tuple[float, int] | None) -> set[int]:
        """Rank a trial anew, or no more where `entry` is None; who is not among the best now."""
        if self._entries.get(number) == entry:
            return set()
        before = set(self._best())
        if (old := self._entries.pop(number, None)) is not None:
            del self._ranked[bisect.bisect_left(self._ranked, old)]
        if entry is not None:
            self._entries[number] = entry
            bisect.insort(self._ranked, entry)
        return before - set(self._best())

    def __contains__(self, number: int) -> bool:
        entry = self._entries.get(number)
        top = self._ranked[: self._size]
        return entry is not None and entry <= top[-1]

    def _best(self) -> Iterator[int]:
        return (number for _, number in self._ranked[: self._size])


class _Front:
    """The trials that none other beats in every objective, where there are several."""

    def __init__(self) -> None:
        self._losses: dict[int, Losses] = {}

    def put(self, number: int, losses: Losses | None) -> set[int]:
        """Place a trial anew, or no more where `losses` is None; who is not on the front now."""
        self._losses.pop(number, None)
        if losses is None or any(_dominates(other, losses) for other in self._losses.values()):
            return set()
        beaten = {n for n, other in self._losses.items() if _dominates(losses, other)}
        self._losses = {n: other for n, other in self._losses.items() if n not in beaten}
        self._losses[number] = losses
        return beaten

    def __contains__(self, number: int) -> bool:
        return number in self._losses


def _dominates(one: Losses, other: Losses) -> bool:
    return one != other and all(a <= b for a, b in zip(one, other, strict=True))


def _losses(trials: Trials, trial: Trial) -> Losses | None:
    """What places a trial on the front; None where it went bad, or has no model."""
    bad = trial.status in (Status.FAILED, Status.DIVERGED) or trial.checkpoint is None
    if bad or not trial.values or not trials.objective.others:
        return None
    pairs = zip(trials.objective.all, trial.values, strict=True)
    return tuple(objective.loss(value) for objective, value in pairs)


def _entry(trials: Trials, trial: Trial) -> tuple[float, int] | None:
    """What a trial is ranked by; None where it has no model to keep, as when it went bad."""
    if trial.value is None or trial.checkpoint is None:
        return None
    return trials.objective.loss(trial.value), trial.number


def _folders_of(trial: Trial) -> set[PurePosixPath]:
    names = trial.checkpoint, trial.best_checkpoint
    return {PurePosixPath(name).parent for name in names if name is not None}
