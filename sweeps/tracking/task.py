"""What a tracker's process is told to do, and what it says of a sweep and of an error."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from sweeps.journal.objective import Objective
from sweeps.planning.app import App
from sweeps.secrets import masked
from sweeps.storage.folder import Record
from sweeps.tracking.runs import Runs
from sweeps.tracking.tracker import Sweep, shown

_LONGEST = 300
"""Characters of an error that a user sees in one line."""

_MS = 1000


@dataclass(frozen=True, kw_only=True)
class Task:
    """Which sweep to show where; plain values, for a line of JSON."""

    name: str
    """The tracker's."""
    options: Mapping[str, Any]
    ledger: str
    """The name of its ledger's file."""
    folder: str
    """The sweep's, on this machine."""
    url: str | None
    """Where the sweep is in a bucket, if it is in one."""
    history: int
    """So many events come from the journal; the further ones from the driver."""
    objective: Objective

    def to_json(self) -> str:
        """As one line."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, line: str) -> Task:
        """The task that a line was made from."""
        fields = json.loads(line)
        first = fields.pop("objective")
        others = tuple(Objective(**{**other, "others": ()}) for other in first.pop("others"))
        return cls(objective=Objective(**first, others=others), **fields)


def sweep_of(record: Record, runs: Runs) -> Sweep:
    """What to tell of a sweep that has begun, from its record."""
    assert runs.created is not None, "a tracker is opened for the first trial"
    return Sweep(
        id=f"{re.sub('[^A-Za-z0-9_.-]', '-', record.name)[:80]}-{round(runs.created * _MS):x}",
        name=record.name,
        app=App(**record.app).name,
        objective=runs.objective,
        config=_config(record),
    )


def _config(record: Record) -> dict[str, Any]:
    """What was asked of a sweep, by flat names; the record's overrides are masked already."""
    git = record.environment.get("git") or {}
    config = {
        "metric": record.metric,
        "mode": record.mode,
        "searcher": record.searcher["name"],
        **_options("searcher", record.searcher),
        "scheduler": record.scheduler["name"],
        **_options("scheduler", record.scheduler),
        "num_samples": record.num_samples,
        "seed": record.seed,
        "overrides": " ".join(record.overrides),
        "commit": git.get("commit"),
    }
    return {key: shown(value) for key, value in config.items() if value not in (None, "")}


def _options(part: str, options: Mapping[str, Any]) -> dict[str, Any]:
    return {f"{part}.{key}": value for key, value in options.items() if key != "name"}


def in_one_line(error: Exception) -> str:
    """An error for a user's eyes, without the credentials that a URL in it may hold."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
    text = masked(f"error={text}").removeprefix("error=")
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
