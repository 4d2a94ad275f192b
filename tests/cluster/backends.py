"""The backends that the contract is held against, each with a place where it can run.

A factory yields a `Place`; all tests of the contract share it. One that starts a cluster is marked
slow and cluster.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from cluster.backend import Backend
from cluster.backends.local import LocalBackend
from cluster.backends.process import ProcessBackend, ProcessOptions
from cluster.backends.ray_jobs import RayBackend, RayOptions
from tests.cluster.nodes import ray_cluster


@dataclass(frozen=True, kw_only=True)
class Place:
    """A backend, and what its tests need to know."""

    backend: Backend
    storage: str
    """An absolute folder of this machine, which jobs see too."""
    unknown: str = "nosuchjob"
    """A job that no handle of it names."""
    secrets: tuple[str, ...] = ()
    """What it must show nowhere."""
    within_s: float = 120.0
    """How long a job may take to begin, or to end."""


Factory = Callable[[], AbstractContextManager[Place]]

CLUSTER = (pytest.mark.slow, pytest.mark.cluster)
"""Marks of a backend that starts a cluster."""


@contextmanager
def _of_this_machine(kind: type[ProcessBackend]) -> Iterator[Place]:
    folder = Path(tempfile.mkdtemp(prefix="cvb", dir="/tmp"))
    backend = kind("here", ProcessOptions(), state=folder / "state")
    yield Place(backend=backend, storage=str(folder / "storage"))
    shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _ray() -> Iterator[Place]:
    """A head and two nodes."""
    folder = Path(tempfile.mkdtemp(prefix="cvb", dir="/tmp"))
    with ray_cluster() as there:
        there.start_head()
        there.add_nodes("a", "b")
        options = RayOptions(
            address=there.dashboard, token_file=str(there.token_file), python=sys.executable
        )
        backend = RayBackend("three", options)
        yield Place(backend=backend, storage=str(folder / "storage"), secrets=(there.token,))
    shutil.rmtree(folder, ignore_errors=True)


BACKENDS: dict[str, tuple[Factory, tuple[Any, ...]]] = {
    "local": (partial(_of_this_machine, LocalBackend), ()),
    "process": (partial(_of_this_machine, ProcessBackend), ()),
    "ray": (_ray, CLUSTER),
}
"""Name -> factory, marks."""
