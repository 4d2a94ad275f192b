"""The checkpoint of a trial that is several repeats: theirs, and what was not told of them yet.

    checkpoints/000009/repeat-0/000009/...
    checkpoints/000009/repeat-1/000009/...
    checkpoints/000009/repeats.json

To the sweep it is one checkpoint as any other. A repeat that is over may stand at another step than
the rest.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sweeps.storage.checkpoints import link
from sweeps.storage.durable import sync, sync_tree

_STATE = "repeats.json"
_OVER = "over.json"
_FORMAT = 1

Key = tuple[int, int]
"""(step, how many reports of that step came before): what tells a repeat's reports apart."""


@dataclass(kw_only=True)
class Standing:
    """Where one repeat of a trial stands."""

    key: Key = (0, -1)
    """Of its last report."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    """Of that report."""
    checkpoint: Path | None = None
    """For it to go on from; of one that is over its best, where there is that."""
    kept: Mapping[str, float] = field(default_factory=dict)
    """What it reported with that checkpoint."""
    best: float | None = None
    """Its best objective so far: what a model is worth that its app keeps from its best epoch."""
    waiting: dict[Key, Mapping[str, float]] = field(default_factory=dict)
    """Reports that other repeats have not come to, ascending."""
    returned: Mapping[str, float] | None = None
    """What its task returned; None while it has not."""

    @property
    def step(self) -> int:
        """Of its last report; 0 before the first."""
        return self.key[0]

    @property
    def is_over(self) -> bool:
        """Whether its task has returned."""
        return self.returned is not None

    def can_go_on_from(self, step: int) -> bool:
        """Whether it has a checkpoint of that very step, or needs none any more.

        Parameters may change there (population based training), so another step will not do.
        """
        return self.is_over or (self.checkpoint is not None and int(self.checkpoint.name) == step)

    def take(self, step: int, metrics: Mapping[str, float], checkpoint: Path | None) -> None:
        """Take a report in; it waits for the others'."""
        self.key = (step, self.key[1] + 1 if step == self.step else 0)
        self.metrics = self.waiting[self.key] = metrics
        if checkpoint is not None:
            self.checkpoint, self.kept = checkpoint, metrics

    def at(self, key: Key) -> Mapping[str, float] | None:
        """Its report of that key, which waits no more; of one that is over its last ever after."""
        report = self.waiting.pop(key, None)
        if report is None and self.is_over and self.key < key:
            return self.metrics or None
        return report


def repeat_folder(job: Path, repeat: int) -> Path:
    """The job folder of one of a trial's repeats."""
    return job / f"repeat-{repeat}"


def join(standings: Sequence[Standing], place: Path) -> None:
    """Write the checkpoint of a trial, whole and durable; the repeats' stand in it from now on.

    On one file system nothing is copied.
    """
    partial = place.with_name(f".{place.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    for repeat, each in enumerate(standings):
        if each.checkpoint is not None:
            inner = repeat_folder(partial, repeat) / each.checkpoint.name
            shutil.copytree(each.checkpoint, inner, copy_function=link)
    state = {"format": _FORMAT, "repeats": [_to_json(each) for each in standings]}
    (partial / _STATE).write_text(json.dumps(state, indent=1) + "\n", encoding="utf-8")
    sync_tree(partial)
    shutil.rmtree(place, ignore_errors=True)
    partial.rename(place)
    sync(place.parent)
    for repeat, each in enumerate(standings):
        if each.checkpoint is not None:
            each.checkpoint = repeat_folder(place, repeat) / each.checkpoint.name


def split(checkpoint: Path) -> list[Standing]:
    """Where the repeats of a trial stand that goes on from its checkpoint."""
    state = json.loads((checkpoint / _STATE).read_text(encoding="utf-8"))
    return [
        _from_json(fields, repeat_folder(checkpoint, repeat))
        for repeat, fields in enumerate(state["repeats"])
    ]


def note_over(folder: Path, standing: Standing, began: str | None) -> None:
    """Note in a repeat's job folder that it is over, so that it is not trained again.

    Args:
        folder: The repeat's.
        standing: Where it ended.
        began: What tells the newest checkpoint of the trial; None before the first.
    """
    partial = folder / f".{_OVER}.partial"
    content = {"format": _FORMAT, "began": began, "repeat": _to_json(standing)}
    partial.write_text(json.dumps(content) + "\n", encoding="utf-8")
    sync(partial)
    partial.replace(folder / _OVER)


def find_over(job: Path, repeat: int, began: str | None) -> Standing | None:
    """Where a repeat ended in a segment that was cut off, behind the same checkpoint of the trial.

    Its checkpoint may have gone since then: nothing goes on from that.
    """
    of_rung = job.name.startswith("rung-")
    own, inner = (job.parent.parent, f"*/{job.name}") if of_rung else (job.parent, "*")
    for file in sorted(own.glob(f"{inner}/repeat-{repeat}/{_OVER}")):
        content = json.loads(file.read_text(encoding="utf-8"))
        if content["began"] == began:
            found = _from_json(content["repeat"], file.parent / "checkpoints")
            if found.checkpoint is not None and not found.checkpoint.is_dir():
                found.checkpoint = None
            return found
    return None


def is_joined(checkpoint: Path) -> bool:
    """Whether a checkpoint is that of several repeats."""
    return (checkpoint / _STATE).is_file()


def _to_json(standing: Standing) -> dict[str, Any]:
    return {
        "key": standing.key,
        "metrics": dict(standing.metrics),
        "checkpoint": None if standing.checkpoint is None else standing.checkpoint.name,
        "kept": dict(standing.kept),
        "best": standing.best,
        "waiting": [[*key, dict(metrics)] for key, metrics in standing.waiting.items()],
        "returned": standing.returned,
    }


def _from_json(fields: Mapping[str, Any], folder: Path) -> Standing:
    name = fields["checkpoint"]
    return Standing(
        key=(fields["key"][0], fields["key"][1]),
        metrics=fields["metrics"],
        checkpoint=None if name is None else folder / name,
        kept=fields["kept"],
        best=fields["best"],
        waiting={(step, nth): metrics for step, nth, metrics in fields["waiting"]},
        returned=fields["returned"],
    )
