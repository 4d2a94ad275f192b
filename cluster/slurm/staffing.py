"""How many workers a sweep is to have: decided from what waits and what is there, without Slurm."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cluster.slurm.ray_node import Joined, View

CALM_S = 60.0
"""So long nothing must have waited before a worker is let go: a place in the queue is dear."""


@dataclass(frozen=True, kw_only=True)
class Orders:
    """What to do now."""

    submit: int = 0
    let_go: Sequence[str] = ()
    """Worker jobs that are not needed any more."""


def decide(
    view: View,
    *,
    queued: Sequence[str],
    starting: Sequence[str],
    bounds: tuple[int, int],
    calm_s: float,
) -> Orders:
    """What to submit, and whom to let go.

    Args:
        view: The cluster, the head left out.
        queued: Worker jobs in the queue, oldest first.
        starting: Those that run and have not joined yet.
        bounds: The least and the most workers.
        calm_s: How long nothing has waited for a place.
    """
    least, most = bounds
    here = [node for node in view.nodes if not node.draining]
    coming = len(queued) + len(starting)
    needed = max(_workers_for(view.waiting, here), least - len(here))
    room = most - len(here) - coming
    if needed > coming:
        return Orders(submit=max(0, min(needed - coming, room)))
    if calm_s < CALM_S:
        return Orders()
    spare = len(here) + coming - max(least, sum(node.idle_s < CALM_S for node in here))
    idle = [node.job for node in here if node.idle_s >= CALM_S]
    return Orders(let_go=[*reversed(queued), *idle][: max(0, spare)])


def _workers_for(waiting: Sequence[Mapping[str, float]], here: Sequence[Joined]) -> int:
    """How many more workers would take all that waits.

    Workers are as large as the largest that is there; what does not fit on one waits in vain. Where
    none is there each takes one.
    """
    if not here:
        return len(waiting)
    size = max((node.resources for node in here), key=lambda each: each.get("CPU", 0))
    return math.ceil(sum(_share(bundle, size) for bundle in waiting) - 1e-9)


def _share(bundle: Mapping[str, float], size: Mapping[str, float]) -> float:
    """The part of a worker that a bundle takes; nothing where it does not fit."""
    fits = min(
        (size.get(name, 0) // amount for name, amount in bundle.items() if amount), default=0
    )
    return 1 / fits if fits >= 1 else 0.0
