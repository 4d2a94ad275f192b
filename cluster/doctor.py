"""What must hold before a sweep is sent: what can be said here, then what the cluster says."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from cluster.backend import Backend, Check, Code, Submission
from cluster.errors import ClusterError, ConfigError
from cluster.parcel import MOST_BYTES, WARN_BYTES
from cluster.profile import Profile
from cluster.project import Package, find_root

_SHOWN = 5


def examine(backend: Backend, submission: Submission | None) -> Iterator[Check]:
    """Each check as it is done, cheapest first.

    Args:
        backend: Where the sweep is to run.
        submission: The sweep; without one only what holds for every sweep is checked.
    """
    if submission is not None:
        yield check_storage_path(submission.storage)
        if submission.code.travels:
            yield from check_package(submission.code)
    yield from backend.checks(submission)


def examine_project(profile: Profile, here: Path) -> Iterator[Check]:
    """What can be said on this machine before there is a sweep: where it would be kept, what would
    travel.

    Args:
        profile: The cluster's.
        here: A folder of the project, or the one that its `code.root` counts from.
    """
    if profile.is_this_machine:
        return
    storage, code = profile.common.storage, profile.code
    yield check_storage_path(storage) if storage else _NO_PLACE
    if code.travels == "package":
        root = find_root(here, code.root)
        yield from check_package(Code(root=root, excludes=tuple(code.excludes)))


def check_storage_path(storage: str) -> Check:
    """Whether it says the same place on every node."""
    if "://" in storage or storage.startswith("/"):
        return Check(name="place", ok=True, what=f"sweeps are kept in {storage}")
    return Check(
        name="place",
        ok=False,
        what=f"the storage is {storage!r}, which every node takes for a folder of its own",
        todo="set storage in the cluster's profile, or hydra.sweeper.storage_path, to an absolute "
        "path that all nodes share, or to s3://bucket/folder",
    )


_NO_PLACE = Check(
    name="place",
    ok=False,
    warning=True,
    what="the profile does not say where sweeps are kept, so no storage is looked at",
    todo="set storage in the cluster's profile, or hydra.sweeper.storage_path with each submit",
)


def check_package(code: Code) -> Iterator[Check]:
    """What would travel: its size, the largest files where it is large, and what stays."""
    began = time.monotonic()
    try:
        package = Package.of(code)
    except (ClusterError, ConfigError) as error:
        what, _, todo = str(error).partition("; ")
        yield Check(name="package", ok=False, what=what, todo=todo)
        return
    size = f"{len(package.files)} files of {package.root}, {_mib(package.size)}"
    if package.size <= WARN_BYTES:
        took = time.monotonic() - began
        yield Check(name="package", ok=True, what=f"{size}, found in {took:.1f} s")
    else:
        largest = ", ".join(f"{name} {_mib(bytes_)}" for name, bytes_ in package.largest(_SHOWN))
        way = "; over 100 MiB packed it goes to the storage" if package.size > MOST_BYTES else ""
        yield Check(
            name="package",
            ok=False,
            warning=True,
            what=f"{size}; the largest: {largest}{way}",
            todo="leave out what trials do not read, in .gitignore, .rayignore or code.excludes",
        )
    yield _check_secrets(package)


def _check_secrets(package: Package) -> Check:
    if not package.secrets:
        return Check(name="secrets", ok=True, what="no file that looks like a secret is there")
    shown = ", ".join(package.secrets[:_SHOWN])
    more = len(package.secrets) - _SHOWN
    return Check(
        name="secrets",
        ok=True,
        what=f"left here, since they look like secrets: {shown}"
        + (f" and {more} more" if more > 0 else ""),
    )


def _mib(size: int) -> str:
    return f"{size / (1 << 20):.1f} MiB"
