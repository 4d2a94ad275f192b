"""What a Ray has, node by node, and whether more may come."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Node = Mapping[str, float]
"""A node's resources by Ray's names."""


@dataclass(frozen=True, kw_only=True)
class Capacity:
    """What is there."""

    nodes: Sequence[Node]
    can_grow: bool = False
    """Whether further nodes may join: it is a cluster, not a Ray of this process's own."""
    autoscales: bool = False
    """Whether waiting work makes them join."""

    @classmethod
    def now(cls, *, can_grow: bool) -> Capacity:
        """Of the connected Ray."""
        import ray

        nodes: Any = ray.nodes()  # type: ignore[no-untyped-call]
        return cls(
            nodes=tuple(dict(node["Resources"]) for node in nodes if node["Alive"]),
            can_grow=can_grow,
            autoscales=can_grow and _autoscales(),
        )

    @property
    def has_slots(self) -> bool:
        """Whether any node takes trials at all."""
        return any(node.get("CPU") or node.get("GPU") for node in self.nodes)

    def most(self, name: str) -> float:
        """The most that one node has of a resource."""
        return max((node.get(name, 0) for node in self.nodes), default=0)


def _autoscales() -> bool:
    """Whether there is an autoscaler that can add nodes: Ray's status then names their kinds."""
    from ray._private.ray_constants import DEBUG_AUTOSCALING_STATUS
    from ray.experimental.internal_kv import _internal_kv_get

    status = json.loads(_internal_kv_get(DEBUG_AUTOSCALING_STATUS) or "{}")
    report = status.get("autoscaler_report") or {}
    return any(not _is_a_node(kind) for kind in report.get("active_nodes") or {})


def _is_a_node(kind: str) -> bool:
    """Whether this is what Ray calls a node of a cluster that is set up by hand."""
    return kind.startswith("node_")
