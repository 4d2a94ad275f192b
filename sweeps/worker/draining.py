"""Which nodes are about to be taken away."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection

PREEMPTED = "its node was taken away"
"""What is said of a lane or rank whose node was, or is being."""

_POLL_S = 1.0


def draining_nodes() -> Collection[str]:
    """The ids of the nodes that Ray was told to drain: preempted, or leaving for another reason."""
    from ray._private.state import state

    nodes: dict[str, int] = state.get_draining_nodes()
    return nodes.keys()


class Drains:
    """The same, asked of Ray once a second at most."""

    def __init__(
        self,
        ask: Callable[[], Collection[str]] = draining_nodes,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ask = ask
        self._clock = clock
        self._asked: float | None = None
        self._known: frozenset[str] = frozenset()

    def __call__(self) -> frozenset[str]:
        """The ids; a node that was drained counts as such for ever."""
        now = self._clock()
        if self._asked is None or now - self._asked >= _POLL_S:
            self._asked = now
            self._known |= frozenset(self._ask())
        return self._known
