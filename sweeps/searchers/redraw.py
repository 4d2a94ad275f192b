"""Constraints for any searcher: what they refuse is drawn again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from sweeps.errors import ConfigError, SweepError
from sweeps.searchers.base import Searcher, seed_of
from sweeps.searchers.view import View
from sweeps.space.scale import from_unit
from sweeps.space.space import Space

BY_SEARCHER = 20
"""Attempts of the searcher itself: one that has learned to go where it is refused stays there."""
TRIES = 10_000
"""Attempts in all; before a sweep may begin, one of as many uniform draws must meet the
constraints. A uniform one costs some 170 us: two seconds at the worst."""
FEWEST_PROBES = 100
"""Are made in any case: a constraint that calculates with a text is found by them."""


class Redraw:
    """Asks a searcher again, and then draws uniformly, until the constraints are met.

    A refused proposal leaves no trace: the view forgets it, and it is never journaled. Each attempt
    is seeded by (sweep seed, trial number, attempt).

    Raises:
        ConfigError: None of many uniform draws meets the constraints.
    """

    def __init__(self, searcher: Searcher, *, space: Space, view: View, seed: int) -> None:
        self.limit = searcher.limit
        self._searcher = searcher
        self._space = space
        self._view = view
        self._seed = seed
        self._uniform = _uniform(space)
        self._probe()

    def ask(self, number: int, attempt: int = 0) -> Mapping[str, Any]:
        """The configuration of trial `number`; it meets the constraints.

        Raises:
            SweepError: None was found.
        """
        refused: Counter[str] = Counter()
        for again in range(attempt, TRIES):
            by_searcher = again < BY_SEARCHER
            params = self._searcher.ask(number, again) if by_searcher else self._draw(number, again)
            violated = self._space.violated(self._space.values(params))
            if not violated:
                return params
            refused.update(constraint.text for constraint in violated)
            if by_searcher:
                self._view.retract()
        raise SweepError(
            f"no configuration for trial {number} was found in {TRIES} draws: {_worst(refused)}"
        )

    def _draw(self, number: int, attempt: int) -> dict[str, Any]:
        return self._uniform(np.random.default_rng(seed_of(self._seed, number, attempt)))

    def _probe(self) -> None:
        generator = np.random.default_rng(self._seed)
        refused, met = Counter[str](), False
        for probe in range(TRIES):
            violated = self._space.violated(self._space.values(self._uniform(generator)))
            refused.update(constraint.text for constraint in violated)
            met = met or not violated
            if met and probe >= FEWEST_PROBES:
                return
        raise ConfigError(
            f"hydra.sweeper.constraints: none of {TRIES} random configurations meets them: "
            f"{_worst(refused)}; widen it, or narrow the parameters to where it holds"
        )


def _uniform(space: Space) -> Callable[[np.random.Generator], dict[str, Any]]:
    distributions = space.distributions()

    def draw(generator: np.random.Generator) -> dict[str, Any]:
        return space.draw(lambda p: from_unit(distributions[p.optuna_name], generator.random()))

    return draw


def _worst(refused: Counter[str]) -> str:
    ((text, count),) = refused.most_common(1)
    return f"the constraint {text!r} refuses {count} of them"
