"""How superfluous checkpoints go: from a disk at once, from a bucket behind the decisions' back."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

from cluster.bucket import BucketError
from sweeps.storage.checkpoints import delete
from sweeps.storage.folder import SweepFolder
from sweeps.storage.remote import Remote

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Needed:
    """What of a trial's checkpoints is to stay."""

    trial: int
    newest: str | None
    """For it to go on from."""
    best: tuple[str | None, ...]
    """Of these the first that is there."""
    reported: Collection[str | None]
    """All that its reports name."""

    def keep(self, there: Callable[[str], bool]) -> set[str | None]:
        """The names that stay."""
        best = (name for name in self.best if name is not None and there(name))
        return {self.newest, next(best, None)}


class Disposal(Protocol):
    """Deletes checkpoints."""

    def clean(self, needed: Needed) -> None:
        """Delete what is superfluous of a trial; its workers may write no more."""

    def clean_all(self, needed: Iterable[Needed]) -> None:
        """The same for all trials, when no worker runs: what nobody reported goes too."""


def disposal(folder: SweepFolder) -> Disposal:
    """Where a sweep is."""
    return _OnDisk(folder) if folder.remote is None else _InBucket(folder.remote)


class _OnDisk:
    """Deletes at once."""

    def __init__(self, folder: SweepFolder) -> None:
        self._folder = folder

    def clean(self, needed: Needed) -> None:
        keep = needed.keep(self._folder.has_checkpoint)
        for checkpoint in self._folder.checkpoints(needed.trial):
            if self._folder.relative(checkpoint) not in keep:
                delete(checkpoint)

    def clean_all(self, needed: Iterable[Needed]) -> None:
        for each in needed:
            self.clean(each)


class _InBucket:
    """Deletes in a thread: a request takes longer than most decisions.

    While workers run, it deletes only what was reported when a checkpoint became superfluous: what
    a worker has uploaded since is none of it. What the store refuses is told in the log.
    """

    def __init__(self, remote: Remote) -> None:
        self._remote = remote
        self._behind = ThreadPoolExecutor(1, thread_name_prefix="disposal")

    def clean(self, needed: Needed) -> None:
        self._behind.submit(self._telling, lambda: self._clean(needed))

    def clean_all(self, needed: Iterable[Needed]) -> None:
        given = list(needed)
        self._behind.submit(self._telling, lambda: self._clean_all(given)).result()

    def _clean(self, needed: Needed) -> None:
        there = self._remote.checkpoints(needed.trial)
        superfluous = there.intersection(needed.reported) - needed.keep(there.__contains__)
        self._remote.delete_checkpoints(superfluous)

    def _clean_all(self, needed: Iterable[Needed]) -> None:
        there = self._remote.checkpoints()
        kept = (name for each in needed for name in each.keep(there.__contains__))
        self._remote.delete_all_but({name for name in kept if name is not None})

    def _telling(self, act: Callable[[], None]) -> None:
        try:
            act()
        except BucketError as error:
            log.warning("superfluous checkpoints stay: %s", error)
