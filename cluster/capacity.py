"""What a Ray has, node by node, and whether more may come."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
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


def slots(nodes: Iterable[Node], *, workers: int, cpus: float, gpus: float) -> int:
    """How many trials run at once: each worker, with so much, on one node; a trial's on any."""
    return sum(workers_on(node, cpus, gpus) for node in nodes) // workers


def workers_on(node: Node, cpus: float, gpus: float) -> int:
    """How many workers of trials a node holds; a part of a GPU never lies on two."""
    fits = []
    if cpus:
        fits.append(_times(node.get("CPU", 0), cpus))
    if gpus >= 1:
        fits.append(_times(node.get("GPU", 0), gpus))
    elif gpus:
        fits.append(int(node.get("GPU", 0)) * _times(1, gpus))
    return min(fits)


def _times(has: float, part: float) -> int:
    return int(has / part + 1e-6)


def _autoscales() -> bool:
    """Whether there is an autoscaler that can add nodes: Ray's status then names their kinds."""
    from ray._private.ray_constants import DEBUG_AUTOSCALING_STATUS
    from ray.autoscaler.v2.sdk import get_cluster_status
    from ray.autoscaler.v2.utils import is_autoscaler_v2
    from ray.experimental.internal_kv import _internal_kv_get

    if is_autoscaler_v2(fetch_from_server=True):
        import ray

        now = get_cluster_status(ray.get_runtime_context().gcs_address)
        return names_kinds(node.ray_node_type_name for node in now.active_nodes + now.idle_nodes)
    status = json.loads(_internal_kv_get(DEBUG_AUTOSCALING_STATUS) or "{}")
    return names_kinds((status.get("autoscaler_report") or {}).get("active_nodes") or {})


def names_kinds(node_types: Iterable[str]) -> bool:
    """Whether these are kinds of nodes: where none can be added, each is a type, `node_ID`."""
    return any(kind and not kind.startswith("node_") for kind in node_types)
