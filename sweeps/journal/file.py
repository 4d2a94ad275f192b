"""The sweep's append-only truth: a file of events, one JSON record a line."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from optuna.storages.journal import (
    BaseJournalBackend,
    JournalFileBackend,
    JournalFileOpenLock,
)

from sweeps.errors import SweepError
from sweeps.journal.events import Event
from sweeps.journal.records import decode, encode
from sweeps.storage.disk import refusal

_TAIL = 4096
"""How much of a file's end is looked at first, in bytes."""
_LINES_OF_TAIL = 2
"""So many newlines hold a whole line between them; a torn one may follow."""


class _LeaseIsTheLock(JournalFileOpenLock):
    """No lock: the sweep's lease keeps other writers out; Optuna's costs as much as the write."""

    def acquire(self) -> bool:
        """Hold it."""
        return True

    def release(self) -> None:
        """Let it go."""


class Journal:
    """The one writer of a journal file.

    Opening cuts a torn last line, which a crash in mid-write leaves and which would swallow the
    next record, and breaks a lock that a killed writer left. The caller holds the sweep's lease:
    that, not Optuna's lock, is what keeps a second writer out.
    """

    def __init__(self, path: Path, *, check: Callable[[], None] = lambda: None) -> None:
        """Open it to append.

        Args:
            path: The file.
            check: Called before each append; raises SweepError where another driver writes it now.
        """
        self._path = path
        self._check = check
        _cut_torn_tail(path)
        with suppress(FileNotFoundError):
            path.with_name(path.name + ".lock").unlink()
        self._failure: SweepError | None = None
        self._backend: BaseJournalBackend = JournalFileBackend(
            str(path), _LeaseIsTheLock(str(path))
        )

    def append(self, *events: Event) -> None:
        """Write events in one durable append (one fsync).

        Raises:
            SweepError: The disk refused, now or before. What it took of a line is cut off, and
                nothing more is written: later decisions would rest on an event that is not there.
        """
        if self._failure is not None:
            raise self._failure
        self._check()
        records = [encode(event) for event in events]
        try:
            self._backend.append_logs(records)
        except OSError as error:
            self._failure = refusal(self._path, error)
            with suppress(OSError):  # read-only, or gone: the next writer cuts it
                _cut_torn_tail(self._path)
            raise self._failure from error

    def close(self) -> None:
        """Nothing to do: what is appended is whole."""


def read_journal(path: Path) -> Iterator[Event]:
    """Every event of a journal in order; a torn last line is passed over.

    Raises:
        SweepError: A whole line cannot be read, or a newer caviar wrote it; its number is named.
    """
    with path.open("rb") as file:
        yield from decode_lines(file, str(path))


def decode_lines(lines: Iterable[bytes], name: str, *, first: int = 1) -> Iterator[Event]:
    """The events of a journal's lines; as `read_journal`.

    Args:
        lines: Each with its newline; a last one without is passed over.
        name: Of the journal, for the message.
        first: The number of the first of these lines.
    """
    for number, line in enumerate(lines, start=first):
        if not line.endswith(b"\n"):
            return
        try:
            yield decode(json.loads(line))
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise SweepError(
                f"{name}, line {number}, cannot be read ({type(error).__name__}: {error}). "
                f"Restore the file from a copy, or cut it before that line to go on from there."
            ) from error


@dataclass(frozen=True, kw_only=True)
class Mark:
    """How far a journal goes: two are equal where nothing was appended or cut between them."""

    size: int
    """In bytes, a torn last line left out."""
    last: str
    """A digest of the last line, which says to the microsecond when it was written."""

    @classmethod
    def of(cls, size: int, line: bytes) -> Mark:
        """Of a journal that ends with this line, given without its newline."""
        return cls(size=size, last=hashlib.sha256(line).hexdigest()[:16])


def mark_of(path: Path) -> Mark:
    """How far a journal file goes, from its end alone; nowhere where there is none."""
    if not path.exists():
        return Mark.of(0, b"")
    with path.open("rb") as file:
        end = file.seek(0, os.SEEK_END)
        tail, length = b"", 0
        while length < end and tail.count(b"\n") < _LINES_OF_TAIL:
            length = min(end, max(_TAIL, 2 * length))
            file.seek(end - length)
            tail = file.read(length)
    whole = tail[: tail.rfind(b"\n") + 1]
    size = end - len(tail) + len(whole)
    return Mark.of(size, whole[:-1].rpartition(b"\n")[2])


def _cut_torn_tail(path: Path) -> None:
    if not path.exists():
        return
    with path.open("r+b") as file:
        whole = sum(len(line) for line in file if line.endswith(b"\n"))
        file.truncate(whole)
        os.fsync(file.fileno())
