"""The journal of a sweep in a bucket, where nothing can be appended to: numbered objects.

    journal/000002-8f3a/000000.log        all that was there when the second driver opened it
    journal/000002-8f3a/000001.log        the 256 appends after that, merged
    journal/000002-8f3a/000002/000.log    one append each, until they are merged too

Each driver writes an epoch of its own, which begins with a copy of what it read; the newest one
that has begun counts. So a driver that was taken for dead and writes on changes nothing any more.
"""

from __future__ import annotations

import json
import logging
import re
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from optuna.storages.journal import BaseJournalBackend

from cluster.bucket import Bucket, BucketError
from sweeps.errors import SweepError
from sweeps.journal.events import Event
from sweeps.journal.file import Journal, Mark, decode_lines, mark_of, read_journal
from sweeps.journal.records import encode
from sweeps.storage.folder import SweepFolder
from sweeps.storage.remote import Remote

log = logging.getLogger(__name__)

BLOCK = 256
"""So many appends are merged into one object: what a reader fetches for all of them."""

_READS = 5
"""So often a reader begins again where a driver merges objects under its hands."""

KEY = re.compile(r"(?P<epoch>\d{6}-\w+)/(?P<block>\d{6})(/(?P<number>\d{3}))?\.log")
"""What an object is called; without a number it holds a whole block."""

T = TypeVar("T")


class Segments(BaseJournalBackend):
    """A journal in a bucket; one writer, any number of readers."""

    def __init__(self, place: Bucket) -> None:
        self._place = place
        self._epoch: str | None = None
        self._block = 1
        self._written: list[bytes] = []
        """Of the block that is being written."""

    def begin_epoch(self) -> None:
        """Become the writer: what is there is copied, merged, and the copy counts from now on.

        Raises:
            SweepError: Another driver did the same at the same moment, or an object is missing.
        """
        data = self._read()
        before = {key.partition("/")[0] for key in self._place.sizes()}
        number = 1 + max((int(epoch[:6]) for epoch in before), default=0)
        self._epoch = f"{number:06d}-{uuid.uuid4().hex[:8]}"
        self._place.put(f"{self._epoch}/{0:06d}.log", data)
        if max(begun(self._place.sizes())) != self._epoch:
            raise SweepError(f"{self._place} was opened by another driver too: let one resume it")
        for epoch in before:
            self._place.delete_below(epoch)

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Write records as one object; durable when this returns."""
        assert self._epoch is not None, "begin_epoch comes first"
        data = b"".join(
            json.dumps(record, separators=(",", ":")).encode() + b"\n" for record in logs
        )
        self._place.put(f"{self._epoch}/{self._block:06d}/{len(self._written):03d}.log", data)
        self._written.append(data)
        if len(self._written) == BLOCK:
            self.merge()

    def merge(self) -> None:
        """Make one object of the block that is being written, and begin the next."""
        if not self._written:
            return
        block = f"{self._epoch}/{self._block:06d}"
        self._place.put(f"{block}.log", b"".join(self._written))
        self._block, self._written = self._block + 1, []
        try:
            self._place.delete_below(block)
        except BucketError as error:  # they are passed over, and go with the epoch
            log.warning("%s", error)

    def read_logs(self, log_number_from: int) -> Iterable[dict[str, Any]]:
        """The records from that one on."""
        lines = self._read().splitlines()
        return (json.loads(line) for line in lines[log_number_from:])

    def lines(self) -> list[bytes]:
        """All lines; none where there is no journal."""
        return self._read().splitlines(keepends=True)

    def exists(self) -> bool:
        """Whether there is a journal."""
        return bool(begun(self._place.sizes()))

    def mark(self) -> Mark:
        """How far it goes, at the cost of a listing and of one object."""
        return read_settled(self._place, self._mark_once)

    def _mark_once(self) -> Mark:
        keys = self._place.sizes()
        epochs = begun(keys)
        if not epochs:
            return Mark.of(0, b"")
        order = in_order(keys, max(epochs))
        end = self._place.get(order[-1])
        return Mark.of(sum(keys[key] for key in order), end.splitlines()[-1] if end else b"")

    def _read(self) -> bytes:
        """All that was written, but for a torn last line.

        Raises:
            SweepError: An object is missing although later ones are there.
        """
        return read_settled(self._place, self._read_once)

    def _read_once(self) -> bytes:
        keys = self._place.sizes()
        epochs = begun(keys)
        if not epochs:
            return b""
        data = b"".join(self._place.get_all(in_order(keys, max(epochs))))
        return data[: data.rfind(b"\n") + 1]


def read_settled(place: Bucket, read: Callable[[], T]) -> T:
    """Read, again where a driver merges or replaces objects meanwhile.

    Raises:
        SweepError: An object is missing although later ones are there.
    """
    failure: Exception | None = None
    for again in range(_READS):
        try:
            return read()
        except (FileNotFoundError, GapError) as error:
            failure = error
        time.sleep(0.05 * 2**again)
    raise SweepError(
        f"{place} cannot be read: {failure}. Restore that object from a version or a "
        f"copy, or delete those after it to go on from there."
    ) from failure


class GapError(Exception):
    """An object is missing in the middle."""


def begun(keys: Iterable[str]) -> set[str]:
    """Those that have begun: their first object, the copy of the one before, is there."""
    matches = [match for key in keys if (match := KEY.fullmatch(key))]
    return {m["epoch"] for m in matches if m["number"] is None and int(m["block"]) == 0}


def in_order(keys: Iterable[str], epoch: str) -> list[str]:
    """The objects that hold an epoch's lines, each once."""
    merged, single = dict[int, str](), dict[tuple[int, int], str]()
    for key in keys:
        match = KEY.fullmatch(key)
        if match is None or match["epoch"] != epoch:
            continue
        if match["number"] is None:
            merged[int(match["block"])] = key
        else:
            single[int(match["block"]), int(match["number"])] = key
    return list(_whole(epoch, merged, single))


def _whole(epoch: str, merged: dict[int, str], single: dict[tuple[int, int], str]) -> Iterator[str]:
    last = max([*merged, *(block for block, _ in single)])
    for block in range(last + 1):
        if block in merged:
            yield merged[block]
            continue
        numbers = sorted(number for there, number in single if there == block)
        expected = BLOCK if block < last else len(numbers)
        missing = sorted(set(range(max([expected, *(n + 1 for n in numbers)]))) - set(numbers))
        if missing:
            raise GapError(f"{epoch}/{block:06d}/{missing[0]:03d}.log is missing")
        yield from (single[block, number] for number in numbers)


class BucketJournal:
    """The one writer of a journal in a bucket; as `Journal` for a file."""

    def __init__(self, place: Bucket, *, check: Callable[[], None]) -> None:
        """Open it for writing; the caller holds the sweep's lease.

        Args:
            place: Where it lies.
            check: Raises where the lease is another's now.
        """
        self._segments = Segments(place)
        self._check = check
        self._failure: SweepError | None = None
        self._segments.begin_epoch()

    def append(self, *events: Event) -> None:
        """Write events as one object, durable when this returns.

        Raises:
            SweepError: The store refused, now or before, or another driver has taken over. Nothing
                more is written: later decisions would rest on an event that is not there.
        """
        if self._failure is not None:
            raise self._failure
        try:
            self._check()
            self._segments.append_logs([encode(event) for event in events])
        except BucketError as error:
            self._failure = SweepError(str(error))
            raise self._failure from error
        except SweepError as error:
            self._failure = error
            raise

    def close(self) -> None:
        """Merge what is not merged: a reader fetches few objects then."""
        if self._failure is not None:
            return
        try:
            self._segments.merge()
        except BucketError as error:
            log.warning("%s", error)


def open_journal(folder: SweepFolder, *, check: Callable[[], None]) -> Journal | BucketJournal:
    """A sweep's journal, for its one writer."""
    if folder.remote is None:
        return Journal(folder.journal)
    return BucketJournal(journal_place(folder.remote), check=check)


def read_events(folder: SweepFolder) -> Iterator[Event]:
    """Every event of a sweep's journal; as `read_journal`."""
    if folder.remote is None:
        return read_journal(folder.journal)
    place = journal_place(folder.remote)
    return decode_lines(Segments(place).lines(), str(place))


def journal_mark(folder: SweepFolder) -> Mark:
    """How far a sweep's journal goes by now; far cheaper than reading it."""
    if folder.remote is None:
        return mark_of(folder.journal)
    return Segments(journal_place(folder.remote)).mark()


def has_journal(folder: SweepFolder) -> bool:
    """Whether the sweep ever began."""
    if folder.remote is None:
        return folder.journal.exists()
    return Segments(journal_place(folder.remote)).exists()


def journal_place(remote: Remote) -> Bucket:
    """Where a sweep's journal lies in its bucket."""
    return remote.place / "journal"
