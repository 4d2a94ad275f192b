"""A trial's side of a sweep: report metrics, find the checkpoint to go on from.

Outside a sweep `report` logs and everything else says "no sweep", so the same app runs by itself.
"""

from __future__ import annotations

import logging
import math
import operator
import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from sweeps.journal.objective import Objective
from sweeps.journal.status import Decision
from sweeps.storage.checkpoints import delete, is_ours
from sweeps.storage.durable import sync, sync_tree

log = logging.getLogger(__name__)

CHECKPOINT_EVERY_S = 10.0
"""Between rungs, a checkpoint that is given as a function is written so often."""

WriteCheckpoint = Callable[[Path], object]

Send = Callable[[int, dict[str, float], Path | None, bool], Decision]
"""(step, metrics, checkpoint, whether it may wait for later ones) -> the driver's decision.

What may wait is held back for a moment, and goes to the driver together with what follows.
"""


class Keeper(Protocol):
    """Sees to a trial's checkpoints beyond the folder in which they are written."""

    def keep(self, checkpoint: Path) -> None:
        """Make a checkpoint, whole and in its place on this disk, durable where the sweep is."""

    def drop_others(self, checkpoints: Path, keep: set[str]) -> None:
        """Delete a folder's checkpoints but for those names, wherever they are."""


class OnDisk(Keeper):
    """Of a sweep on a disk, where a checkpoint is written in its place."""

    def keep(self, checkpoint: Path) -> None:
        """Nothing to do: it is there."""

    def drop_others(self, checkpoints: Path, keep: set[str]) -> None:
        """Delete them."""
        for folder in checkpoints.iterdir():
            if is_ours(folder.name) and folder.name not in keep:
                delete(folder)


class TrialEnded(BaseException):
    """Raised out of `report` when the scheduler pauses or stops the trial.

    Let it pass: it unwinds the task function so that `finally` blocks run. It is no `Exception`, so
    an app's `except Exception` does not swallow it.
    """


@dataclass(kw_only=True)
class Session:
    """What a running segment knows of its sweep."""

    job_folder: Path
    """The trial's Hydra output folder."""
    checkpoint: Path | None
    """Folder to go on from."""
    send: Send
    """Hands a report to the driver."""
    objective: Objective
    rungs: Sequence[int] = ()
    """Steps at which the scheduler may pause a trial, ascending."""
    judged_between: bool = True
    """Whether it judges the reports between them too."""
    always: bool = False
    """Whether every report's checkpoint is worth its time: any of them may be the best."""
    best: float | None = None
    """The trial's best objective so far."""
    best_step: int | None = None
    rank: int = 0
    """Of a trial in several processes; the others only hear what becomes of rank 0's reports."""
    keeper: Keeper = field(default_factory=OnDisk)
    data: dict[str, str] = field(default_factory=dict)
    """Fingerprints of the data that it trains on, by name."""
    clock: Callable[[], float] = time.monotonic
    reporter: object = None
    """The loop of a framework that reports for the app, if one does: the first that trains."""

    def __post_init__(self) -> None:
        self._written = self.clock()
        self.step = int(self.checkpoint.name) if self.checkpoint else 0
        """The last that was reported, or that the trial goes on from."""
        self.save_soon = False
        """Whether the next checkpoint is worth its time, whatever came before."""

    def checkpoint_folder(self, step: int) -> Path:
        """Where the checkpoint of a step lies."""
        return self.job_folder / "checkpoints" / f"{step:06d}"

    def passes_rung(self, step: int) -> bool:
        """Whether a rung lies at a step, or on the way there."""
        return any(self.step < rung <= step for rung in self.rungs)

    def reach(self, step: int) -> bool:
        """Come to a step; whether a rung lies there, or on the way."""
        at_rung, self.step = self.passes_rung(step), step
        return at_rung

    def is_due(self, *, at_rung: bool) -> bool:
        """Whether a checkpoint is worth its time: at a rung, and after some seconds without."""
        wanted = self.always or self.save_soon or at_rung
        return wanted or self.clock() - self._written >= CHECKPOINT_EVERY_S

    def can_wait(self, value: float | None, *, at_rung: bool) -> bool:
        """Whether no decision hangs on a report of this value."""
        is_judged = self.judged_between or at_rung
        return not is_judged and value is not None and math.isfinite(value)

    def note_written(self) -> None:
        """A checkpoint was written just now."""
        self._written, self.save_soon = self.clock(), False


_session: Session | None = None


def begin(session: Session) -> None:
    """Enter a segment; called by the worker, never by an app."""
    global _session
    _session = session


def end() -> None:
    """Leave a segment; called by the worker, never by an app."""
    global _session
    _session = None


def save_soon() -> None:
    """Let the next report come with a checkpoint; called by the lane, never by an app."""
    if _session is not None:
        _session.save_soon = True


def in_sweep() -> bool:
    """Whether this process runs a trial of a sweep."""
    return _session is not None


def current() -> Session | None:
    """The segment that this process runs; None outside a sweep."""
    return _session


def rank() -> int:
    """Which of its trial's processes this is; 0 is the one that reports and checkpoints."""
    return _session.rank if _session else 0


def get_checkpoint() -> Path | None:
    """The folder of the checkpoint to go on from; None for a fresh start, or outside a sweep."""
    return _session.checkpoint if _session else None


def checkpoint_folder(step: int) -> Path | None:
    """Where the checkpoint of `step` would lie; None outside a sweep.

    A checkpoint written to this folder and passed to `report` is taken as it is; one written
    elsewhere is copied here first.
    """
    return _session.checkpoint_folder(step) if _session else None


def wants_checkpoint(step: int) -> bool:
    """Whether `report` at this step would call a `checkpoint` that is a function.

    For one that all of a trial's ranks write together: rank 0's answer counts.
    """
    return _session is not None and _session.is_due(at_rung=_session.passes_rung(step))


def record_data(name: str, of: str | bytes | os.PathLike[str]) -> None:
    """Record what a trial is trained on, so that `caviar reproduce` can tell other data.

    Nothing is done outside a sweep.

    Args:
        name: What it is called: `train`.
        of: The path of a file or a folder (`pathlib.Path`), its bytes, or, as text, a fingerprint
            of your own. Up to 256 MB are read whole, of more there are samples: see
            `sweeps.storage.fingerprint`. In a process an unchanged file is read once.

    Raises:
        OSError: The path cannot be read.
    """
    if _session is None:
        return
    from sweeps.storage.fingerprint import fingerprint

    _session.data[name] = fingerprint(of)


def report(
    metrics: Mapping[str, float],
    *,
    step: int,
    checkpoint: str | os.PathLike[str] | WriteCheckpoint | None = None,
) -> None:
    """Report metrics at a step; the sweep may end the trial here.

    A trial in several ranks calls it in each of them, at the same steps: what counts is rank 0's
    report, and all end together.

    Args:
        metrics: Numbers by name; one of them is the sweep's `hydra.sweeper.metric`.
        step: How far the training is (usually the epoch, from 1): an integer that never falls. A
            trial that goes on from a checkpoint goes on at its own step.
        checkpoint: A folder, or a file, from which the trial can go on at this step. Without one
            the trial is never paused. It is copied, unless it is `checkpoint_folder(step)`, or the
            file in it, already; older ones of the trial are deleted, but for the newest and the
            best, and these too once nothing needs them. Or a function that writes such a folder:
            it is called where the trial may be paused and every ten seconds, and not outside a
            sweep.

    Raises:
        TypeError: A metric is not a number, or `step` is not an integer.
        ValueError: `step` is negative, or the checkpoint is not there.
        TrialEnded: The scheduler pauses or stops the trial. Let it pass.
    """
    clean = {name: number(name, value) for name, value in metrics.items()}
    step = _integer(step)
    if step < 0:
        raise ValueError(f"step is {step}; it must be 0 or more")
    if _session is None:
        log.info("step %d  %s", step, shown(clean))
        return
    at_rung = _session.reach(step)
    due = _session.is_due(at_rung=at_rung)
    place = None if callable(checkpoint) and not due else _checkpoint(_session, step, checkpoint)
    _report_to_sweep(_session, step, clean, place, at_rung=at_rung)


def _checkpoint(
    session: Session, step: int, given: str | os.PathLike[str] | WriteCheckpoint | None
) -> Path | None:
    """The durable checkpoint of a report, where it has one."""
    if given is None or session.rank > 0:
        return None
    if callable(given):
        folder = session.checkpoint_folder(step)
        shutil.rmtree(folder, ignore_errors=True)
        folder.parent.mkdir(parents=True, exist_ok=True)
        given(folder)
        if not folder.is_dir():
            raise ValueError(f"checkpoint is a function; it must make {str(folder)!r} a folder")
    else:
        folder = Path(given)
    if not folder.exists():
        raise ValueError(f"checkpoint is {str(folder)!r}; it must be an existing folder or file")
    session.note_written()
    return _keep(session, step, folder)


def _report_to_sweep(
    session: Session,
    step: int,
    metrics: dict[str, float],
    checkpoint: Path | None,
    *,
    at_rung: bool,
) -> None:
    value = metrics.get(session.objective.metric)
    can_wait = checkpoint is None and session.can_wait(value, at_rung=at_rung)
    decision = session.send(step, metrics, checkpoint, can_wait)
    if value is not None and session.objective.replaces(value, session.best):
        session.best, session.best_step = value, step
    if checkpoint is not None:
        steps = {step, session.best_step} - {None}
        session.keeper.drop_others(checkpoint.parent, {f"{step:06d}" for step in steps})
    if decision is not Decision.CONTINUE:
        raise TrialEnded(decision.value)


def _integer(step: Any) -> int:
    try:
        return operator.index(step)
    except TypeError as error:
        raise TypeError(f"step is {step!r}; it must be an integer such as the epoch") from error


def number(name: str, value: object) -> float:
    """A metric as a plain float, from Python, NumPy or a one-element tensor."""
    if isinstance(value, str) or not hasattr(value, "__float__"):
        raise TypeError(f"metric {name!r} is {value!r}; it must be a number")
    return float(value)


def shown(metrics: Mapping[str, float]) -> str:
    """Metrics in a line of a log."""
    return "  ".join(f"{name} {value:.6g}" for name, value in metrics.items())


def _keep(session: Session, step: int, given: Path) -> Path:
    """Put a checkpoint in its place, durably: the journal must never name one that is not there."""
    place = session.checkpoint_folder(step)
    folder = given.parent if given.is_file() else given
    if folder.resolve() != place.resolve():
        shutil.rmtree(place, ignore_errors=True)
        partial = place.with_name(f"{place.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        if given.is_file():
            partial.mkdir(parents=True)
            shutil.copy2(given, partial)
        else:
            shutil.copytree(given, partial)
        sync_tree(partial)
        partial.rename(place)
    else:
        sync_tree(place)
    sync(place.parent)
    session.keeper.keep(place)
    return place
