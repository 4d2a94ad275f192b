"""What the driver and a lane say to each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra.core.config_search_path import ConfigSearchPath

from sweeps.core.repeats import Repeating
from sweeps.journal.objective import Objective
from sweeps.planning.app import App
from sweeps.planning.compose import Patch
from sweeps.planning.resources import Resources
from sweeps.storage.remote import Remote


@dataclass(frozen=True, kw_only=True)
class LaneSettings:
    """What stays the same for all that a lane runs."""

    name: str
    """The sweep's."""
    identity: str
    """Its own among all sweeps of that name."""
    group: str
    """What a tracker calls the runs of all its trials."""
    folder: Path
    """The sweep's, on every node."""
    app: App
    remote: Remote | None
    """Where the sweep is in a bucket, if it is in one."""
    search_path: ConfigSearchPath
    """Where Hydra finds the app's configs."""
    objective: Objective
    seed: int
    rungs: Sequence[int]
    """Steps at which the scheduler may pause a trial."""
    preload: Sequence[str]
    """Modules that the configs' `_target_`s come from."""
    teardown_timeout_s: float
    judged_between: bool
    """Whether it judges the reports between them too."""
    resources: Resources = field(default_factory=Resources)
    by_rung: bool = False
    """Whether a segment trains anew at a fidelity of its own: then only its result is judged."""
    repeating: Repeating | None = None
    """How trials are repeated, where they are."""
    checkpoint_key: str | None = None
    """The key of the app's config that takes the path of the checkpoint to go on from."""


# Driver to lane


@dataclass(frozen=True, kw_only=True)
class Job:
    """A segment to train."""

    trial: int
    folder: Path
    """The trial's Hydra job folder, absolute."""
    base: Any
    """A reference in Ray's object store to the `Base` that `patch` completes."""
    base_id: str
    patch: Patch
    checkpoint: Path | None
    best: float | None
    best_step: int | None
    says_left: bool
    """Whether to say when the lane's last segment has ended, before this one begins."""
    repeat: int | None = None
    """Which of the trial's repeats it is a turn of."""
    rungs: Sequence[int] | None = None
    """Of such a turn: where a checkpoint is worth its time."""


@dataclass(frozen=True)
class Rest:
    """Nothing to do for some seconds; ask again then."""

    seconds: float
    says_left: bool = False
    """As a job's."""


@dataclass(frozen=True)
class Save:
    """Go on, and let the next report come with a checkpoint if the task can write one."""


Order = Job | Rest | Save


# Lane to driver


@dataclass(frozen=True)
class Idle:
    """The lane has nothing to do."""


@dataclass(frozen=True)
class Left:
    """The segment that the lane was told to leave has ended; it takes its order up next."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """The task reported; it stands still for the decision, unless further messages follow."""

    trial: int
    step: int
    metrics: Mapping[str, float]
    checkpoint: Path | None


@dataclass(frozen=True, kw_only=True)
class Returned:
    """The task returned these metrics; none where it returned nothing."""

    trial: int
    metrics: Mapping[str, float]
    checkpoint: Path | None = None
    """Of a segment that trained for a rung: its best report's."""


@dataclass(frozen=True, kw_only=True)
class Raised:
    """The task raised."""

    trial: int
    error: str
    """The traceback."""
    cause: str
    """`import` where something could not be imported, `out_of_memory`, `storage` where that took
    nothing more, else `error`."""


@dataclass(frozen=True, kw_only=True)
class Unusable:
    """The app cannot be imported: no trial of this sweep can run."""

    error: str


Message = Idle | Left | Report | Returned | Raised | Unusable


class StuckTaskError(RuntimeError):
    """The task did not end in time when it was told to; the lane must be replaced."""


class StorageMissingError(RuntimeError):
    """The sweep's folder is not on this node; nothing can train here."""


class LostRankError(RuntimeError):
    """A rank's process died; the lane and the trial's other ranks must be replaced."""
