"""What a trial's process used, over the first minute of a segment at most."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

LOOKED_AT = 5
"""So many trials are measured, the first by their numbers: no more is done however many come."""


@dataclass(frozen=True, kw_only=True)
class GpuUsage:
    """Of one GPU that a process sees."""

    memory: int
    """Bytes that the process held at most; 0 where it held none, or none that could be seen."""
    total: int
    """Bytes that the GPU has."""
    busy: float
    """Share of the time in which it computed, for whichever process."""


@dataclass(frozen=True, kw_only=True)
class Usage:
    """Of one process: a trial's only one, or its rank 0."""

    seconds: float
    """That it was looked at."""
    cpus: float
    """That it and its children kept busy on average."""
    loading: float
    """Share of the time in which its task waited for, or made, its next batch of data."""
    memory: int
    """Bytes resident at most, without its children's."""
    node_cpus: float
    """Share of its node's CPUs that were busy, whoever kept them so."""
    node_memory: float
    """Share of its node's memory that was taken at most."""
    gpus: tuple[GpuUsage, ...] = ()
    """Those that it sees; none where it has none, or where they cannot be asked."""

    @classmethod
    def from_json(cls, given: Mapping[str, Any]) -> Self:
        """What `dataclasses.asdict` made plain."""
        gpus = tuple(GpuUsage(**each) for each in given["gpus"])
        return cls(**{**given, "gpus": gpus})


def fullest(usage: Usage) -> GpuUsage:
    """The GPU that decides: of several that a process sees, the one that it fills most."""
    return max(usage.gpus, key=lambda gpu: (gpu.memory, gpu.busy))
