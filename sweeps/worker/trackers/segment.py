"""Which run of a tracker a segment of a trial has, and what ends with the segment."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

log = logging.getLogger(__name__)

_LONGEST = 32
"""Characters of a sweep's name in a run's identity: W&B takes 64 in all."""


@dataclass(frozen=True, kw_only=True)
class AppRun:
    """A trial's run in the app's own tracker."""

    id: str
    """The same in all segments of the trial, and no other's."""
    group: str
    """The sweep's name."""
    name: str
    parts: tuple[str, ...] = ()
    """The folders within the trial's job folder that are this run's: a rung's, for one."""

    @classmethod
    def of_trial(cls, sweep: str, group: str, trial: int, *parts: str) -> AppRun:
        """A trial's.

        Args:
            sweep: The sweep's identity.
            group: Its name.
            trial: Its number.
            parts: Folders within its job folder, of what is trained anew and has a run of its own:
                `rung-2`.
        """
        return cls(
            id="-".join((sweep, "trial", str(trial), *parts)),
            group=group,
            name=" ".join((f"trial {trial}", *(part.replace("-", " ") for part in parts))),
            parts=parts,
        )

    def environment(self, folder: Path) -> dict[str, str]:
        """What W&B reads, for a run that keeps its files in the job's folder."""
        return {
            "WANDB_RUN_ID": self.id,
            "WANDB_RESUME": "allow",
            "WANDB_RUN_GROUP": self.group,
            "WANDB_NAME": self.name,
            "WANDB_TAGS": "caviar",
            "WANDB_DIR": str(folder),
        }


def identity(sweep: str, created: float) -> str:
    """A sweep's, also among those of its name.

    Args:
        sweep: Its name.
        created: When it was, in seconds.
    """
    return f"{re.sub('[^A-Za-z0-9_-]', '-', sweep)[:_LONGEST]}-{round(created * 1000):x}"


@dataclass(kw_only=True, eq=False)
class Tracked:
    """The segment that this process trains, for the libraries that its task calls."""

    run: AppRun | None
    """None in a rank that has none: the first alone tracks the trial."""
    folder: Path
    """The job's."""
    rank: int = 0
    _ends: dict[int, tuple[object, Callable[[bool], object]]] = field(default_factory=dict)

    def elsewhere(self, pattern: str) -> Iterator[Path]:
        """What other drivers' segments of the run left in their job folders."""
        parts = self.run.parts if self.run else ()
        yield from self.folder.parents[len(parts)].glob("/".join(("*", *parts, pattern)))

    def at_end(self, what: object, end: Callable[[bool], object]) -> bool:
        """End something with the segment, told whether that failed; False where it is known."""
        known = id(what) in self._ends
        self._ends.setdefault(id(what), (what, end))
        return not known

    def end(self, *, failed: bool) -> None:
        """End what is open, the last first; what cannot be is told in the job's log."""
        while self._ends:
            _, (what, end) = self._ends.popitem()
            try:
                end(failed)
            except Exception:
                log.exception("%s could not be ended", type(what).__name__)


_current: Tracked | None = None


def current() -> Tracked | None:
    """The segment that is trained here just now."""
    return _current


@contextmanager
def entered(here: Tracked) -> Iterator[None]:
    """Within it that segment is the current one."""
    global _current
    _current = here
    try:
        yield
    finally:
        _current = None
