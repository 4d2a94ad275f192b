"""A journal read while it grows: each time only what it gained since the last.

A reader that looks every second does not read the whole file every second.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from cluster.bucket import Bucket
from sweeps.errors import SweepError
from sweeps.journal.events import Event
from sweeps.journal.file import decode_lines
from sweeps.journal.segments import KEY, begun, in_order, journal_place, read_settled
from sweeps.storage.folder import SweepFolder


@dataclass(frozen=True, kw_only=True)
class Gained:
    """What a journal gained since it was read last."""

    events: Iterator[Event]
    """Decoded as they are taken; raises SweepError where a line cannot be read."""
    afresh: bool
    """Whether these are all of its events: it is read for the first time, or was replaced."""


class Follower:
    """A journal's reader that remembers how far it has come."""

    def __init__(self, folder: SweepFolder) -> None:
        self._lines = 0
        if folder.remote is None:
            self._name = str(folder.journal)
            self._source: Callable[[], tuple[list[bytes], bool]] = _FileTail(folder.journal)
        else:
            place = journal_place(folder.remote)
            self._name, self._source = str(place), _BucketTail(place)

    def read(self) -> Gained:
        """What it gained; a torn last line is left for the next time.

        Raises:
            FileNotFoundError: There is no journal.
            SweepError: In a bucket, an object is missing in the middle.
        """
        lines, afresh = self._source()
        first = 1 + (0 if afresh else self._lines)
        self._lines = first - 1 + len(lines)
        return Gained(events=decode_lines(lines, self._name, first=first), afresh=afresh)


class _FileTail:
    """New whole lines of a file that is appended to."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: tuple[int, int] | None = None
        self._offset = 0

    def __call__(self) -> tuple[list[bytes], bool]:
        with self._path.open("rb") as file:
            found = os.fstat(file.fileno())
            identity = (found.st_dev, found.st_ino)
            afresh = identity != self._file or found.st_size < self._offset
            self._file, offset = identity, 0 if afresh else self._offset
            file.seek(offset)
            data = file.read()
        end = data.rfind(b"\n") + 1
        self._offset = offset + end
        return data[:end].splitlines(keepends=True), afresh


@dataclass(frozen=True)
class _Position:
    """How far an epoch was read: the blocks before this one, and of it so many appends."""

    epoch: str
    block: int = 0
    appends: int = 0
    lines: int = 0
    """Of this block: what is skipped once its appends are merged into one object."""


class _BucketTail:
    """New lines of a journal in a bucket: one listing, and the objects that are new."""

    def __init__(self, place: Bucket) -> None:
        self._place = place
        self._position: _Position | None = None

    def __call__(self) -> tuple[list[bytes], bool]:
        found = read_settled(self._place, self._read)
        if found is None:
            raise FileNotFoundError(str(self._place))
        return found

    def _read(self) -> tuple[list[bytes], bool] | None:
        keys = self._place.sizes()
        epoch = max(begun(keys), default=None)
        if epoch is None:
            return None
        position = self._position
        afresh = position is None or position.epoch != epoch
        if position is None or afresh:
            position = _Position(epoch)
        new = [key for key in in_order(keys, epoch) if _is_behind(key, position)]
        lines: list[bytes] = []
        for key, data in zip(new, self._place.get_all(new), strict=True):
            gained, position = _advance(position, key, data)
            lines += gained
        self._position = position
        return lines, afresh


def _parts(key: str) -> tuple[int, int | None]:
    """An object's block, and its number in it unless it is the whole block."""
    match = KEY.fullmatch(key)
    assert match is not None
    return int(match["block"]), None if match["number"] is None else int(match["number"])


def _is_behind(key: str, position: _Position) -> bool:
    block, number = _parts(key)
    if block != position.block:
        return block > position.block
    return number is None or number >= position.appends


def _advance(position: _Position, key: str, data: bytes) -> tuple[list[bytes], _Position]:
    """The lines of the next object that were not read yet, and the position behind it."""
    block, number = _parts(key)
    if block != position.block:
        position = _Position(position.epoch, block)
    lines = data.splitlines(keepends=True)
    if number is None:
        return lines[position.lines :], _Position(position.epoch, block + 1)
    seen = position.lines + len(lines)
    return lines, replace(position, appends=number + 1, lines=seen)


def fingerprint(folder: SweepFolder) -> object:
    """What differs once a sweep's record or journal has changed; cheaper than reading them.

    Raises:
        FileNotFoundError: One of them is not there.
    """
    if folder.remote is None:
        return tuple(_stamp(path) for path in (folder.sweep_yaml, folder.journal))
    sizes = journal_place(folder.remote).impatient.sizes()
    return max(begun(sizes), default=""), len(sizes), sum(sizes.values())


def _stamp(path: Path) -> tuple[int, int, int]:
    found = path.stat()
    return found.st_ino, found.st_size, found.st_mtime_ns


def never_began(folder: SweepFolder) -> SweepError:
    """Of a sweep that has no journal."""
    return SweepError(
        f"{folder.place} has no {folder.journal.name}: its sweep never began. "
        f"Delete the folder, or restore that file from a copy."
    )
