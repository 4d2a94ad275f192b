"""The one interface behind every verb: what a backend takes, gives and promises.

A backend is one file of `cluster.backends`. It knows one kind of cluster; it knows nothing of
Hydra, searchers or journals. What it runs is a command line of caviar's that begins a sweep, or
goes on with it where there is one: so running it again after any end is always right.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from cluster.handle import Handle


@dataclass(frozen=True, kw_only=True)
class Code:
    """The user's project, as it has to be on the other side."""

    root: Path
    """Its root on this machine, absolute: the working folder of the command."""
    import_paths: tuple[str, ...] = ()
    """Folders for PYTHONPATH, relative to `root`: `src` where there is such a layout."""
    excludes: tuple[str, ...] = ()
    """What does not travel, as gitignore patterns, on top of the project's own .gitignore."""
    travels: bool = True
    """Whether it is sent along; False where it is on the other side already."""
    notes: Mapping[str, str] = field(default_factory=dict)
    """Texts to put beside what is sent along, by path relative to the root."""


@dataclass(frozen=True, kw_only=True)
class Ask:
    """What one trial asks for, as far as the command line says it."""

    workers: int = 1
    cpus: float | None = None
    gpus: float | None = None
    at_once: int | None = None
    """The most trials at once."""


@dataclass(frozen=True, kw_only=True)
class Submission:
    """What is to run."""

    name: str
    """The sweep's; unique for its storage and user."""
    arguments: tuple[str, ...]
    """Behind `python -m sweeps.cli`; what it names lies in `code.root`. It begins the sweep, or
    goes on with it. It holds no secret: these are named in `env_from`."""
    code: Code
    storage: str
    """An absolute path that every node shares, or a URL such as s3://bucket/sweeps."""
    ask: Ask = field(default_factory=Ask)
    env: Mapping[str, str] = field(default_factory=dict)
    """Plain values for the job's environment; no secrets."""


class State(StrEnum):
    """Of a job."""

    PENDING = "pending"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    STOPPED = "stopped"
    UNKNOWN = "unknown"
    """The cluster does not know the job, or cannot be reached."""

    @property
    def is_over(self) -> bool:
        """Whether it will not change any more."""
        return self in (State.SUCCEEDED, State.FAILED, State.STOPPED)


@dataclass(frozen=True, kw_only=True)
class Status:
    """Of a job, now."""

    state: State
    message: str = ""
    """What the cluster says of it, in a line."""
    exit_code: int | None = None
    """Of the command, where it has ended and the cluster knows it."""
    nodes: tuple[str, ...] = ()
    """Where it runs, as far as it is known."""


@dataclass(frozen=True)
class Stopped:
    """What came of a stop."""

    done: bool
    """Whether the job is over, its state saved; False where the cluster would not stop it."""
    message: str
    """In a line: what happened, and what to do where it did not."""


@dataclass(frozen=True, kw_only=True)
class Check:
    """One thing that must hold before a sweep can run there."""

    name: str
    ok: bool
    what: str
    """In a line: what was found."""
    todo: str = ""
    """In a line: what to do; empty where it holds."""
    warning: bool = False
    """Whether a sweep can run although it does not hold."""


class Backend(Protocol):
    """A kind of cluster. It is made from its profile; making it reaches for nothing."""

    name: str
    """The profile's."""

    def preview(self, submission: Submission) -> str:
        """What `submit` would send, as text: job, script or manifest. Sends nothing."""
        ...

    def checks(self, submission: Submission | None) -> Iterable[Check]:
        """What must hold, cheapest first; each is carried out when it is asked for.

        What cannot be checked because an earlier one failed is left out. Without a submission only
        what holds for every sweep is checked.
        """
        ...

    def submit(self, submission: Submission) -> Handle:
        """Send it; returns as soon as the cluster has it.

        Raises:
            ClusterError: The cluster refused. Nothing runs.
        """
        ...

    def reaches(self, handle: Handle) -> bool:
        """Whether it would ask the place that a handle names, and not another; asks nobody."""
        ...

    def status(self, handle: Handle) -> Status:
        """How it stands. A job that is not known there is `UNKNOWN`, never an error.

        Raises:
            ClusterError: The cluster cannot be reached.
        """
        ...

    def logs(self, handle: Handle, *, follow: bool = False) -> Iterator[str]:
        """What the driver printed, in pieces as they come; `follow` goes on until the job is over.

        Raises:
            ClusterError: The cluster cannot be reached, or the log is gone.
        """
        ...

    def stop(self, handle: Handle) -> Stopped:
        """End it as Ctrl-C would: the driver saves its state and ends; waits for that.

        Stopping what is over is no error. What did not end in time is ended hard, and said so.
        """
        ...
