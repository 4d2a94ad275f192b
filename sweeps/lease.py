"""The lease of a sweep's one writer: a second driver is refused while the first lives."""

from __future__ import annotations

import json
import os
import socket
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
from sweeps.folder import write_whole

_HEARTBEAT_S = 5.0
_STALE_S = 60.0
"""A driver of another host that has not written for so long counts as dead."""

_CLOCK_S = 2.0


class Lease:
    """Held while a driver writes a sweep; its file names the holder.

    On one host a holder is alive while its process is; on another host, while its heartbeat is
    young. With the holder stand the processes of its Ray: those that outlive it (a worker that
    hangs on its device, an agent that waits a minute for the dead) are ended by the next holder.

    In a bucket two drivers may take the lease in one moment, since pyarrow has no conditional
    write: each waits, and reads back whose it is. A holder that finds another's name there writes
    no more.
    """

    def __init__(self, place: Path | Bucket) -> None:
        self._file = _Object(place.impatient) if isinstance(place, Bucket) else _File(place)
        self._lost: dict[str, Any] | None = None
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
        holder = self._holder_there()
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
        if self._lost is None:
            self._file.delete()

    def check(self) -> None:
        """See that it has not become another's.

        Raises:
            SweepError: It has.
        """
        if self._lost is not None:
            raise SweepError(
                f"{self._file.sweep} was taken over by process {self._lost['pid']} on "
                f"{self._lost['host']}: this driver ends, and that one goes on"
            )

    def _settle(self) -> None:
        """Where two can write at once: wait for the other, and see who was the last."""
        if self._file.settle_s:
            time.sleep(self._file.settle_s)
            self._notice_another()
            self.check()

    def _holder_there(self) -> dict[str, Any] | None:
        try:
            holder = self._file.read()
        except (FileNotFoundError, ValueError):
            return None
        whole = (
            isinstance(holder, dict) and {"host", "pid", "started", "heartbeat"} <= holder.keys()
        )
        return holder if whole else None

    def _notice_another(self) -> None:
        holder = self._holder_there()
        if holder is not None and holder.get("token") != self._holder["token"]:
            self._lost = holder

    def _refuse_second(self, holder: dict[str, Any]) -> None:
        if _lives(holder):
            raise SweepError(
                f"{self._file.sweep} is being written by process {holder['pid']} on "
                f"{holder['host']}: wait for it, or end it and resume"
            )

    def renew(self) -> None:
        """Write it anew, with what runs now."""
        now = {"heartbeat": time.time(), "workers": _workers()}
        with self._writing:
            self._file.write(json.dumps({**self._holder, **now}))

    def _beat(self) -> None:
        while not self._stop.wait(_HEARTBEAT_S):
            with suppress(OSError, BucketError):  # a disk that fails shows in the journal
                if self._file.settle_s:
                    self._notice_another()
                if self._lost is not None:
                    return
                self.renew()


@dataclass(frozen=True)
class _File:
    """A lease on a disk."""

    path: Path
    settle_s = 0.0

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
    """A lease in a bucket."""

    place: Bucket
    settle_s = 1.0

    @property
    def sweep(self) -> str:
        return str(self.place.parent)

    def read(self) -> Any:
        return self.place.parent.get_json(self.place.name)

    def write(self, text: str) -> None:
        self.place.parent.put(self.place.name, text.encode())

    def delete(self) -> None:
        with suppress(BucketError):  # it is stale in a minute
            self.place.parent.delete(self.place.name)


def _lives(holder: dict[str, Any]) -> bool:
    if holder["host"] != socket.gethostname():
        return bool(time.time() - holder["heartbeat"] < _STALE_S)
    return holder["pid"] != os.getpid() and _is_process(holder["pid"], holder["started"])


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
    """End what a dead holder of this host left."""
    if holder["host"] != socket.gethostname():
        return
    for pid, started in holder.get("workers", []):
        if started is not None and _is_process(pid, started):
            with suppress(psutil.Error):
                psutil.Process(pid).kill()
