"""A stretch of a trial's training between two decisions, as a slot gets it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Segment:
    """A stretch of a trial's training for one slot."""

    trial: int
    run: int
    values: Mapping[str, Any]
    """The trial's parameters as its app sees them, by name."""
    checkpoint: str | None
    rung: int | None = None
    """From 1, where the fidelity is a parameter: the segment trains anew, at `fidelity`."""
    fidelity: float | None = None
    exploits: int = 0
    """How often the trial has gone on from another's checkpoint: each time in a folder of its own,
    as another model with other parameters."""
    life: int = 0
    """How often the trial was lost under this driver: each time it goes on in a folder of its own,
    which what was cut off, and may live on, does not know."""


Adopt = Callable[[str, Segment], str]
"""(another trial's checkpoint, the segment to go on from it) -> a copy for that trial alone, by
name and durable: the other goes on, and deletes its own when it has a newer one."""


def share(checkpoint: str, segment: Segment) -> str:
    """Adopt where checkpoints are only names."""
    return checkpoint
