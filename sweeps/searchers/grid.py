"""Grid search: every combination once, the last parameter changing fastest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sweeps.searchers.view import View
from sweeps.space import Space


class GridSearcher:
    """Trial number n gets the n-th combination of a finite space."""

    def __init__(self, *, space: Space, view: View, seed: int) -> None:
        self._grid = space.grid()
        self.limit: int | None = len(self._grid)

    def ask(self, number: int, attempt: int = 0) -> Mapping[str, Any]:
        """The configuration of trial `number`."""
        return self._grid[number]
