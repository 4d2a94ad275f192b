"""What to try next: searchers by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from sweeps.choices import make
from sweeps.searchers.annealing import Annealing
from sweeps.searchers.base import Searcher, seed_of
from sweeps.searchers.coarse_to_fine import CoarseToFine
from sweeps.searchers.controller import Controller
from sweeps.searchers.grid import GridSearcher
from sweeps.searchers.samplers import random, tpe
from sweeps.searchers.view import View
from sweeps.space import Space

__all__ = ["SEARCHERS", "Searcher", "View", "make_searcher", "seed_of"]

SEARCHERS: dict[str, Callable[..., Searcher]] = {
    "annealing": Annealing,
    "coarse_to_fine": CoarseToFine,
    "controller": Controller,
    "grid": GridSearcher,
    "random": random,
    "tpe": tpe,
}


def make_searcher(
    name: str,
    *,
    space: Space,
    view: View,
    seed: int,
    rungs: Sequence[int] = (),
    num_samples: int | None = None,
    **options: Any,
) -> Searcher:
    """The searcher called `name` with its own options.

    Args:
        name: One of `SEARCHERS`.
        space: What is searched.
        view: The journal as samplers see it.
        seed: The sweep's.
        rungs: The scheduler's; for searchers that compare trials at the same step.
        num_samples: The sweep's, where it is set; for searchers that divide their work by it.
        options: The user's.

    Raises:
        ConfigError: An unknown name or option; the choices are listed.
    """
    return make(
        SEARCHERS,
        name,
        key="hydra.sweeper.searcher",
        given={
            "space": space,
            "view": view,
            "seed": seed,
            "rungs": rungs,
            "num_samples": num_samples,
        },
        options=options,
    )
