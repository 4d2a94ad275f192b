"""Grid search: every combination once, the last parameter changing fastest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sweeps.searchers.view import View
from sweeps.space.space import Space


class GridSearcher:
    """Trial number n gets the n-th combination; those that break a constraint are left out.

    Args:
        space: The space.
        view: Not needed: a grid does not learn.
        seed: Not needed.
        levels: Into how many values an interval is cut: a number, or a mapping by parameter.
    """

    def __init__(self, *, space: Space, view: View, seed: int, levels: Any = None) -> None:
        self._grid = space.grid(levels)
        self.limit: int | None = self._grid.total

    def ask(self, number: int, attempt: int = 0) -> Mapping[str, Any]:
        """The configuration of trial `number`."""
        return self._grid[number]
