"""The lease of a sweep's one writer: a second driver is refused while the first lives."""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
import time
import uuid
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import psutil

from cluster.bucket import Bucket, BucketError
from sweeps.errors import SweepError
from sweeps.storage.durable import write_whole

_HEARTBEAT_S = 5.0
_STALE_S = 30.0
"""A driver of another host that is not seen to write for so long counts as dead."""

_LOOK_S = 0.2
_SETTLE_S = 1.0
_LONG_DEAD_S = 3600.0
"""A heartbeat so old needs no watching: no two clocks differ so much."""

_CLOCK_S = 2.0


class Lease:
    """Held while a driver writes a sweep; its file names the holder.

    On one host a holder is alive while its process is; on another host, while its heartbeat goes
    on: that is watched, since the clocks of two hosts may differ. A holder that was silent for too
    long, and lives, is shut out (see `check`) by the one who took the lease over.

    With the holder stand the processes of its Ray: those that outlive it (a worker that hangs on
    its device, an agent that waits a minute for the dead) are ended by the next holder. A Ray that
    it was only connected to is no child of its process, and is left alone.

    In a bucket two drivers may take the lease in one moment, since pyarrow has no conditional
    write: each waits, and reads back whose it is.
    """

    def __init__(self, place: Path | Bucket) -> None:
        self._file = _Object(place.impatient) if isinstance(place, Bucket) else _File(place)
        self._other: dict[str, Any] | None = None
        """Who has taken over, as far as it was seen."""
        self._stop = threading.Event()
        self._writing = threading.Lock()
        self._holder = {
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "started": _start_of(os.getpid()),
            "token": uuid.uuid4().hex,
        }

    def __enter__(self) -> Lease:
        """Take the lease.

        Raises:
            SweepError: A living driver holds it.
        """
        holder = _read(self._file)
        if holder is not None:
            self._refuse_second(holder)
            _end_workers(holder)
        self.renew()
        self._settle()
        self._thread = threading.Thread(target=self._beat, name="lease", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        frames: TracebackType | None,
    ) -> None:
        """Give the lease back."""
        self._stop.set()
        self._thread.join()
        if self._look() is None:
            with suppress(OSError, BucketError):  # the next one finds a dead process
                self._file.delete()

    def check(self) -> None:
        """See that no other driver has taken the sweep over.

        Raises:
            SweepError: One has, while this one could not be heard.
        """
        other = self._other if self._file.is_slow else self._look()
        if other is not None:
            raise SweepError(
                f"{self._file.sweep} was taken over by process {other['pid']} on "
                f"{other['host']} while this driver was silent: this one ends, that one goes on"
            )

    def _settle(self) -> None:
        """Where two can write at once: wait for the other, and see who was the last."""
        if self._file.is_slow:
            time.sleep(_SETTLE_S)
            self._look()
            self.check()

    def _look(self) -> dict[str, Any] | None:
        """Who has taken over, if anyone has."""
        if self._other is None:
            holder = None
            with suppress(BucketError):  # it is looked at again soon
                holder = _read(self._file)
            ours = holder is None or all(holder.get(k) == v for k, v in self._holder.items())
            self._other = None if ours else holder
        return self._other

    def _refuse_second(self, holder: dict[str, Any]) -> None:
        if _lives(holder, self._file):
            raise SweepError(
                f"{self._file.sweep} is being written by process {holder['pid']} on "
                f"{holder['host']}: wait for it, end it and resume, or change what can be "
                f"changed as it runs by caviar extend"
            )

    def renew(self) -> None:
        """Write it anew, with what runs now."""
        now = {"heartbeat": time.time(), "workers": _workers()}
        with self._writing:
            self._file.write(json.dumps({**self._holder, **now}))

    def _beat(self) -> None:
        while not self._stop.wait(_HEARTBEAT_S):
            if self._look() is not None:
                return
            with suppress(OSError, BucketError):  # storage that fails shows in the journal
                self.renew()


def seems_driven(place: Path | Bucket) -> bool:
    """Whether a driver seems to write a sweep now, for a reader who does not wait.

    Of another host's driver its heartbeat tells, as far as the clocks of both agree.
    """
    holder = _read(_Object(place.impatient) if isinstance(place, Bucket) else _File(place))
    if holder is None:
        return False
    if holder["host"] == socket.gethostname():
        return _is_process(holder["pid"], holder["started"])
    return bool(time.time() - holder["heartbeat"] < _STALE_S)


@dataclass(frozen=True)
class _File:
    """A lease on a disk."""

    path: Path
    is_slow = False

    @property
    def sweep(self) -> str:
        return str(self.path.parent)

    def read(self) -> Any:
        return json.loads(self.path.read_text(encoding="utf-8"))

    def write(self, text: str) -> None:
        write_whole(self.path, text)

    def delete(self) -> None:
        self.path.unlink(missing_ok=True)


@dataclass(frozen=True)
class _Object:
    """A lease in a bucket, which takes too long to read before each append."""

    place: Bucket
    is_slow = True

    @property
    def sweep(self) -> str:
        return str(self.place.parent)

    def read(self) -> Any:
        return self.place.parent.get_json(self.place.name)

    def write(self, text: str) -> None:
        self.place.parent.put(self.place.name, text.encode())

    def delete(self) -> None:
        self.place.parent.delete(self.place.name)


def _read(file: _File | _Object) -> dict[str, Any] | None:
    try:
        holder = file.read()
    except (OSError, ValueError):
        return None
    whole = isinstance(holder, dict) and {"host", "pid", "started", "heartbeat"} <= holder.keys()
    return holder if whole else None


def _lives(holder: dict[str, Any], file: _File | _Object) -> bool:
    if holder["host"] != socket.gethostname():
        return abs(time.time() - holder["heartbeat"]) < _LONG_DEAD_S and _beats(holder, file)
    return holder["pid"] != os.getpid() and _is_process(holder["pid"], holder["started"])


def _beats(holder: dict[str, Any], file: _File | _Object) -> bool:
    """Whether the file changes while it is watched; one that goes was given back."""
    sys.stderr.write(
        f"process {holder['pid']} on {holder['host']} drove this sweep last: watching for "
        f"{_STALE_S:g} s whether it still does\n"
    )
    deadline = time.monotonic() + _STALE_S
    while time.monotonic() < deadline:
        if (now := _read(file)) != holder:
            return now is not None
        time.sleep(_LOOK_S)
    return False


def _start_of(pid: int) -> float | None:
    """When a process of this host began; None where there is none (a pid may come again)."""
    try:
        began: float = psutil.Process(pid).create_time()
    except psutil.Error:
        return None
    return began


def _is_process(pid: int, started: float) -> bool:
    """Whether the process runs; a clock that was set moves starts by a second."""
    start = _start_of(pid)
    return start is not None and abs(start - started) < _CLOCK_S


def _workers() -> list[tuple[int, float | None]]:
    """What runs in the Ray that this process started: pid and start of each process."""
    found: list[psutil.Process] = []
    with suppress(psutil.Error):  # one that ends meanwhile
        for child in psutil.Process().children():
            if child.name() == "raylet":
                found += [child, *child.children(recursive=True)]
    return [(process.pid, _start_of(process.pid)) for process in found]


def _end_workers(holder: dict[str, Any]) -> None:
    """End what a dead holder of this host left; a sweep of this very process left nothing."""
    own = holder["pid"] == os.getpid() and _is_process(holder["pid"], holder["started"])
    if own or holder["host"] != socket.gethostname():
        return
    for pid, started in holder.get("workers", []):
        if started is not None and _is_process(pid, started):
            with suppress(psutil.Error):
                psutil.Process(pid).kill()
