"""Looks at a segment while it trains: what its process uses, and whether it waits for data.

A thread beside the task's, which changes nothing in the app: where the task is, its stack says;
what the process uses, the system. It ends after a minute.
"""

from __future__ import annotations

import math
import sys
import threading
import time
from collections.abc import Iterator
from types import FrameType, TracebackType
from typing import Self

import psutil

from sweeps.usage.measured import Usage
from sweeps.worker.gpus import Gpus

LONGEST_S = 60.0
_LOOK_S = 0.05
_READ_S = 1.0

_LOADERS = (
    "torch.utils.data",
    "torchdata",
    "datasets.arrow_dataset",
    "datasets.iterable_dataset",
    "tensorflow.python.data",
    "tensorflow_datasets",
    "webdataset",
    "grain",
    "nvidia.dali",
    "ffcv",
)
"""Modules and packages: a task with one of them on its stack gets its next batch, or waits for it.
What a dataset does to an item in this process counts, since the loader calls it."""


class Meter:
    """A context manager around a segment, in the thread that trains it."""

    def __init__(
        self, gpus: Gpus | None = None, *, look_s: float = _LOOK_S, read_s: float = _READ_S
    ) -> None:
        self._gpus = gpus or Gpus()
        self._look_s, self._read_s = look_s, read_s
        self._ended = threading.Event()
        self._looks = self._loading = self._memory = 0
        self._node_memory = 0.0
        self._usage: Usage | None = None

    @property
    def usage(self) -> Usage | None:
        """As it was read last; None of a segment that ended within a second."""
        return self._usage

    def __enter__(self) -> Self:
        self._process = psutil.Process()
        self._task = threading.get_ident()
        self._began = time.monotonic()
        self._cpu, self._node = self._cpu_seconds(), psutil.cpu_times()
        self._thread = threading.Thread(target=self._run, name="caviar-usage", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        ran = self._thread.is_alive()
        self._ended.set()
        self._thread.join()
        if ran and self._seconds >= self._read_s:
            self._read()

    @property
    def _seconds(self) -> float:
        return time.monotonic() - self._began

    def _run(self) -> None:
        """Look often; ask the system each second, and for children at ever longer intervals."""
        asks, reads = self._read_s, self._read_s
        while (now := self._seconds) < LONGEST_S and not self._ended.wait(self._look_s):
            self._look()
            if now >= asks:
                asks = now + self._read_s
                self._ask()
            if now >= reads:
                reads = 2 * now
                self._read()
        if not self._ended.is_set():
            self._read()

    def _look(self) -> None:
        frame = sys._current_frames().get(self._task)
        self._looks += 1
        self._loading += any(_is_loader(module) for module in _modules(frame))

    def _ask(self) -> None:
        self._memory = max(self._memory, self._process.memory_info().rss)
        self._node_memory = max(self._node_memory, psutil.virtual_memory().percent / 100)
        self._gpus.look()

    def _read(self) -> None:
        """Sum up so far."""
        self._ask()
        seconds = self._seconds
        self._usage = Usage(
            seconds=seconds,
            cpus=max(0.0, self._cpu_seconds() - self._cpu) / seconds,
            loading=self._loading / max(1, self._looks),
            memory=self._memory,
            node_cpus=self._busy_share(),
            node_memory=self._node_memory,
            gpus=tuple(self._gpus.usage()),
        )

    def _cpu_seconds(self) -> float:
        """Of the process, its children that have ended, and those that live."""
        own = self._process.cpu_times()
        total = own.user + own.system + own.children_user + own.children_system
        for child in self._process.children(recursive=True):
            try:
                times = child.cpu_times()
            except psutil.NoSuchProcess:
                continue
            total += times.user + times.system
        return total

    def _busy_share(self) -> float:
        """Of the node's CPUs, since the beginning."""
        before, now = self._node, psutil.cpu_times()
        total = math.fsum(now) - math.fsum(before)
        waited = getattr(now, "iowait", 0.0) - getattr(before, "iowait", 0.0)
        idle = now.idle - before.idle + waited
        return min(1.0, max(0.0, 1 - idle / total)) if total > 0 else 0.0


def _modules(frame: FrameType | None) -> Iterator[str]:
    while frame is not None:
        yield frame.f_globals.get("__name__", "")
        frame = frame.f_back


def _is_loader(module: str) -> bool:
    return module.startswith(_LOADERS) and any(
        module == loader or module.startswith(f"{loader}.") for loader in _LOADERS
    )
