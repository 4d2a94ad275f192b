"""What a process that trains a trial again is told, and what it says: as JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from sweeps.journal.legs import Leg
from sweeps.journal.objective import Objective
from sweeps.planning.app import App


def command(*part: str) -> list[str]:
    """The process's command; it finds this very package behind all other import paths."""
    root = str(Path(__file__).resolve().parents[2])
    code = f"import sys; sys.path.append({root!r}); from sweeps.rerun import child; child.main()"
    return [sys.executable, "-P", "-c", code, *part]


@dataclass(frozen=True, kw_only=True)
class Changes:
    """In what a trial that is trained again differs from what was recorded."""

    overrides: Sequence[str] = ()
    """Hydra overrides in the place of, or besides, the recorded ones: `seed=3`."""
    generators: int | None = None
    """The seed of Python's, NumPy's and torch's generators, in the place of the trial's own."""


@dataclass(frozen=True, kw_only=True)
class Spec:
    """All that the process needs."""

    sweep: str
    """The sweep's name."""
    app: App
    """As it is found here."""
    root: str | None
    """The project's root as it was recorded."""
    legs: Sequence[Leg]
    configs: Sequence[str]
    """By leg: the folder with the recorded config.yaml, hydra.yaml and overrides.yaml."""
    out: str
    """The folder that job folders are made in."""
    seed: int
    """The sweep's."""
    metric: str
    mode: str
    at: str
    changes: Changes = field(default_factory=Changes)
    workers: int = 1
    cpus: float = 1
    gpus: float = 0
    checkpoints: bool = False
    """Whether the checkpoint of the best report is kept, and not only what the next leg needs."""

    @property
    def objective(self) -> Objective:
        """By which the best report is told."""
        return Objective(metric=self.metric, mode=self.mode, at=self.at)  # type: ignore[arg-type]

    def to_line(self) -> str:
        """One line of JSON; it goes through a pipe, since a change may hold a secret."""
        return json.dumps(asdict(self)) + "\n"

    @classmethod
    def from_line(cls, line: str) -> Spec:
        """The inverse of `to_line`."""
        fields: dict[str, Any] = json.loads(line)
        fields["app"] = App(**fields["app"])
        fields["legs"] = [Leg(**leg) for leg in fields["legs"]]
        fields["changes"] = Changes(**fields["changes"])
        return cls(**fields)


@dataclass(frozen=True, kw_only=True)
class Report:
    """What the task reported at a step."""

    step: int
    metrics: Mapping[str, float]
    leg: int
    """Counts the legs from 0."""
    checkpoint: str | None = None
    """Its folder, while it is there."""
    seconds: float = 0.0
    """Since the process began."""


@dataclass(frozen=True, kw_only=True)
class Returned:
    """The task function returned these metrics, or was ended where it was ended then."""

    metrics: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Raised:
    """The task function raised."""

    error: str
    """The traceback."""


@dataclass(frozen=True, kw_only=True)
class Refused:
    """A change cannot be made to the config, and why."""

    message: str


@dataclass(frozen=True, kw_only=True)
class Composed:
    """A leg begins, with this config."""

    leg: int
    differs: Sequence[str]
    """Keys whose value the app's configs give otherwise today; the recorded one is used."""


Word = Report | Returned | Raised | Refused | Composed
_WORDS = {kind.__name__: kind for kind in (Report, Returned, Raised, Refused, Composed)}


def to_line(word: Word) -> str:
    """One line of JSON."""
    return json.dumps({"kind": type(word).__name__, **asdict(word)}) + "\n"


def from_line(line: str) -> Word:
    """The inverse of `to_line`."""
    fields = json.loads(line)
    word: Word = _WORDS[fields.pop("kind")](**fields)
    return word
