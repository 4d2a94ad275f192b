"""What to try next: searchers by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sweeps.searchers import bohb, genetic, gp, random, tpe
from sweeps.searchers.annealing import Annealing
from sweeps.searchers.base import Searcher, seed_of
from sweeps.searchers.cmaes import CmaesSearcher
from sweeps.searchers.coarse_to_fine import CoarseToFine
from sweeps.searchers.controller import Controller
from sweeps.searchers.grid import GridSearcher
from sweeps.searchers.initial import GivenPoints
from sweeps.searchers.qmc import QmcSearcher
from sweeps.searchers.redraw import Redraw
from sweeps.searchers.view import View
from sweeps.space.choices import make
from sweeps.space.space import Space

__all__ = ["SEARCHERS", "Searcher", "View", "make_searcher", "seed_of"]

SEARCHERS: dict[str, Callable[..., Searcher]] = {
    "annealing": Annealing,
    "bohb": bohb.bohb,
    "cmaes": CmaesSearcher,
    "coarse_to_fine": CoarseToFine,
    "controller": Controller,
    "genetic": genetic.genetic,
    "gp": gp.gp,
    "grid": GridSearcher,
    "qmc": QmcSearcher,
    "random": random.random,
    "tpe": tpe.tpe,
}


def make_searcher(
    name: str,
    *,
    space: Space,
    view: View,
    seed: int,
    rungs: Sequence[int] = (),
    num_samples: int | None = None,
    initial: Sequence[Mapping[str, Any]] = (),
    **options: Any,
) -> Searcher:
    """The searcher called `name` with its own options; it meets the space's constraints.

    Args:
        name: One of `SEARCHERS`.
        space: What is swept.
        view: The trials so far.
        seed: The sweep's.
        rungs: The scheduler's; none where it has none.
        num_samples: The sweep's budget of trials, if it has one.
        initial: Configurations to begin with, as far as they are given; by parameter name.
        options: The user's.

    Raises:
        ConfigError: An unknown name or option, or a value out of bounds; the choices are listed. Or
            hardly any configuration meets the constraints.
    """
    searcher = make(
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
    if space.constraints and not isinstance(searcher, GridSearcher):  # a grid leaves out the others
        searcher = Redraw(searcher, space=space, view=view, seed=seed)
    if not isinstance(searcher, GridSearcher):  # which tries every combination as it is
        searcher = GivenPoints(searcher, initial, space=space, view=view, seed=seed)
    return searcher
