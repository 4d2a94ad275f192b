"""What to try next: searchers by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sweeps.choices import make
from sweeps.searchers.base import Searcher, seed_of
from sweeps.searchers.grid import GridSearcher
from sweeps.searchers.redraw import Redraw
from sweeps.searchers.samplers import random, tpe
from sweeps.searchers.view import View
from sweeps.space import Space

__all__ = ["SEARCHERS", "Searcher", "View", "make_searcher", "seed_of"]

SEARCHERS: dict[str, Callable[..., Searcher]] = {
    "grid": GridSearcher,
    "random": random,
    "tpe": tpe,
}


def make_searcher(name: str, *, space: Space, view: View, seed: int, **options: Any) -> Searcher:
    """The searcher called `name` with its own options; it meets the space's constraints.

    Raises:
        ConfigError: An unknown name or option; the choices are listed. Or hardly any configuration
            meets the constraints.
    """
    searcher = make(
        SEARCHERS,
        name,
        key="hydra.sweeper.searcher",
        given={"space": space, "view": view, "seed": seed},
        options=options,
    )
    if not space.constraints or isinstance(searcher, GridSearcher):  # a grid leaves out the others
        return searcher
    return Redraw(searcher, space=space, view=view, seed=seed)
