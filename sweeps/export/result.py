"""What an export came to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from sweeps.export.calibration import Calibration
from sweeps.export.deploy import Graph


@dataclass(frozen=True, kw_only=True)
class CombinedResult:
    """Of an export of several trials as one model: which, and how good the best is alone."""

    kind: str
    """`ensemble` or `soup`."""
    trials: tuple[int, ...]
    """What is in it, best first."""
    left_out: Mapping[int, str]
    """By trial: why it is not in it."""
    single_validation: float
    """The objective of the best trial."""
    single_test: dict[str, float] | None
    worse: bool
    """Whether the best trial alone has the better objective."""


@dataclass(frozen=True, kw_only=True)
class ExportResult:
    """What was exported."""

    folder: Path
    trial: int
    """The trial; of several the best."""
    shown: str = ""
    """Where a user finds it: the folder, or a URL where the sweep is in a bucket."""
    verified: bool
    """Whether the export was loaded back and gave the recorded objective again."""
    reason: str | None = None
    """Why it could not be verified."""
    validation: float | None = None
    """The objective, evaluated from the export."""
    test: dict[str, float] | None = None
    calibration: Calibration | None = None
    """Where the trainer offers it."""
    graphs: tuple[Graph, ...] = ()
    """Files that hold the whole model, compared with it."""
    left_out: Mapping[str, str] = field(default_factory=dict)
    """By format: why it was not written."""
    combined: CombinedResult | None = None
