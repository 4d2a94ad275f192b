"""Sweeps of the audit app on a cluster, and what must be true of them whatever has happened."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sweeps.events import Asked, Closed, Ended, Event, Lost, Opened, Reported, Started
from sweeps.folder import SweepFolder
from sweeps.journal import read_journal
from sweeps.results import load_sweep
from sweeps.status import Status
from sweeps.trials import Trials
from tests.cluster.nodes import RayCluster
from tests.conftest import SweepRunner, Driver

STEPS = 6
_WAIT_S = 90


@dataclass(frozen=True)
class Line:
    """A step that was trained."""

    trial: int
    step: int
    begun: int
    node: str
    pid: int
    time: float


def wait_until(condition: Callable[[], object], *, why: Callable[[], str], within: float) -> None:
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, why()
        time.sleep(0.02)
