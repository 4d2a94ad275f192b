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
from cluster.backends.kubernetes import KubernetesBackend
from cluster.backends.local import LocalBackend
from cluster.backends.process import ProcessBackend, ProcessOptions
from cluster.backends.ray_jobs import RayBackend, RayOptions
from cluster.backends.ray_up import RayUpBackend
from cluster.profile import Profile
from tests.cluster.clouds import fake_cloud
from tests.cluster.kube import fake_kube
from tests.cluster.nodes import ray_cluster
from tests.cluster.slurm_cluster import slurm_cluster


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
    within_s: float = 240.0
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


@contextmanager
def _kubernetes() -> Iterator[Place]:
    """A cluster that is a folder: kubectl is a fake, the driver is a real one of this machine."""
    folder = Path(tempfile.mkdtemp(prefix="cvb", dir="/tmp"))
    (folder / "volume").mkdir()
    options = {
        "image": "shop:1",
        "namespace": "lab",
        "python": sys.executable,
        "volume": {"claim": "sweeps", "path": str(folder / "volume")},
        "code": {"travels": "shared"},
    }
    profile = Profile(name="pods", path=None, backend="kubernetes", options=options)
    with fake_kube(folder / "kube"):
        backend = KubernetesBackend.from_profile(profile)
        yield Place(backend=backend, storage=str(folder / "volume" / "storage"))
    shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _ray_up() -> Iterator[Place]:
    """Own machines that are up: a head and a node here, with the token that `ray up` would give."""
    folder = Path(tempfile.mkdtemp(prefix="cvb", dir="/tmp"))
    options = {"provider": "machines", "head": "127.0.0.2", "python": sys.executable}
    profile = Profile(name="own", path=None, backend="ray_up", options=options)
    with ray_cluster() as there, fake_cloud(folder / "cloud", there.dashboard_port):
        backend = RayUpBackend.from_profile(profile)
        backend.folder.mkdir(parents=True)
        shutil.copy(there.token_file, backend.token_file)
        there.start_head()
        there.add_node("a")
        yield Place(backend=backend, storage=str(folder / "storage"), secrets=(there.token,))
    shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _slurm() -> Iterator[Place]:
    with slurm_cluster() as cluster:
        backend = cluster.backend(mode="allocation")
        yield Place(backend=backend, storage=str(cluster.folder / "storage"), within_s=240)


BACKENDS: dict[str, tuple[Factory, tuple[Any, ...]]] = {
    "local": (partial(_of_this_machine, LocalBackend), ()),
    "process": (partial(_of_this_machine, ProcessBackend), ()),
    "ray": (_ray, CLUSTER),
    "ray_up": (_ray_up, CLUSTER),
    "kubernetes": (_kubernetes, (pytest.mark.slow,)),
    "slurm": (_slurm, CLUSTER),
}
"""Name -> factory, marks."""
