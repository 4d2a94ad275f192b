"""How soon a cluster sees that a node is gone."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

HEALTH_CHECKS: Mapping[str, str] = MappingProxyType(
    {
        "RAY_health_check_period_ms": "1000",
        "RAY_health_check_timeout_ms": "1000",
        "RAY_health_check_failure_threshold": "3",
    }
)
"""For the environment of `ray start --head`: the head alone asks the nodes whether they live.

A process that dies is seen at once, since its connections close; a node that falls silent (its
network is cut, its machine freezes) is seen by this alone. By default Ray asks every 3 s, waits 10
s and takes five failures for a death: more than a minute in which the node's trials stand still.
With these it is some 6 s. A node that only pauses for so long is given up too; its trials go on
elsewhere from their checkpoints.
"""
