"""How often a sweep's test data was looked at, kept in the sweep's folder and only ever added to.

Nothing that chooses sees the test split. Each time that one of our commands evaluates it all the
same, for the numbers of a final model, a line says so: a number that was looked at a hundred times,
and each time something was changed for it, is no test.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
import uuid
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from io import FileIO

from sweeps.storage.folder import SweepFolder


@dataclass(frozen=True, kw_only=True)
class Look:
    """The test split was evaluated once."""

    time: float
    """Seconds since 1970."""
    what: str
    """Which model, and by what: `export of trial 7`."""
    metrics: tuple[str, ...] = ()
    """What was measured."""


def record_look(folder: SweepFolder, what: str, *, metrics: Iterable[str] = ()) -> Look:
    """Note that the test split is evaluated.

    On a disk it is a line of one file: appended in one write, under a lock, so that those who look
    at once both stay. A bucket cannot append: there it is an object of its own.

    Raises:
        OSError: The folder cannot be written.
        BucketError: The bucket cannot be.
    """
    look = Look(time=time.time(), what=what, metrics=tuple(metrics))
    line = f"{json.dumps(asdict(look))}\n".encode()
    if folder.remote is not None:
        name = f"{int(look.time * 1e6)}-{uuid.uuid4().hex[:8]}"
        folder.remote.place.put(f"{folder.remote.key(folder.looks)}/{name}", line)
        return look
    with folder.looks.open("a+b", buffering=0) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write(line if _ends_whole(file) else b"\n" + line)
        os.fsync(file.fileno())
    return look


def looks(folder: SweepFolder) -> list[Look]:
    """All of them, oldest first; half a line that a crash left is passed over."""
    found = (_read(line) for line in _lines(folder))
    return sorted((look for look in found if look is not None), key=lambda look: look.time)


def said_looks(folder: SweepFolder) -> str:
    """How often, in a sentence."""
    found = looks(folder)
    if not found:
        return "The test split was not looked at."
    times = "once" if len(found) == 1 else f"{len(found)} times"
    return f"The test split was looked at {times}, last for the {found[-1].what}."


def _lines(folder: SweepFolder) -> list[bytes]:
    if folder.remote is not None:
        below = folder.remote.key(folder.looks)
        return folder.remote.place.get_all(folder.remote.place.sizes(below))
    try:
        return folder.looks.read_bytes().splitlines()
    except FileNotFoundError:
        return []


def _read(line: bytes) -> Look | None:
    try:
        fields = json.loads(line)
        return Look(
            time=float(fields["time"]), what=str(fields["what"]), metrics=tuple(fields["metrics"])
        )
    except (ValueError, KeyError, TypeError):
        return None


def _ends_whole(file: FileIO) -> bool:
    """Whether what is there ends with a newline, as all that was written whole does."""
    file.seek(max(0, file.seek(0, os.SEEK_END) - 1))
    return file.read(1) in (b"", b"\n")
