"""Quasi-Monte Carlo: points that fill the space more evenly than random ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from sweeps.errors import did_you_mean
from sweeps.searchers.base import ask_seed, seed_of
from sweeps.searchers.view import View
from sweeps.space.scale import from_unit
from sweeps.space.space import Space

if TYPE_CHECKING:
    from scipy.stats.qmc import QMCEngine

_TYPES = ("sobol", "halton")


class QmcSearcher:
    """Trial number n gets the n-th point of a low-discrepancy sequence.

    Every parameter has a dimension of its own, a conditional one too, whether a trial has it or
    not. What a constraint refuses is drawn again uniformly: the sequence has one point a trial.

    Args:
        space: What is swept.
        view: Not looked at.
        seed: The sweep's; of the scrambling.
        qmc_type: `sobol` (Sobol' 1967) or `halton` (Halton 1960).
        scramble: Whether the sequence is randomized (Owen 1998): without, its first point is the
            lower corner of the space.
    """

    limit: int | None = None

    def __init__(
        self,
        *,
        space: Space,
        view: View,
        seed: int,
        qmc_type: str = "sobol",
        scramble: bool = True,
    ) -> None:
        if qmc_type not in _TYPES:
            raise ValueError(
                f"qmc_type is {qmc_type!r}; choose from {', '.join(_TYPES)}"
                f"{did_you_mean(qmc_type, _TYPES)}"
            )
        self._space = space
        self._seed = seed
        self._distributions = space.distributions()
        self._engine = _engine(qmc_type, len(space.parameters), scramble, seed_of(seed))

    def ask(self, number: int, attempt: int = 0) -> Mapping[str, Any]:
        """The configuration of trial `number`."""
        if attempt:
            rng = np.random.default_rng(ask_seed(self._seed, number, attempt))
            point = rng.random(len(self._distributions)).tolist()
        else:
            point = self._point(number)
        units = dict(zip(self._distributions, point, strict=True))
        return self._space.draw(
            lambda p: from_unit(self._distributions[p.optuna_name], units[p.optuna_name])
        )

    def _point(self, number: int) -> list[float]:
        if number < self._engine.num_generated:
            self._engine.reset()
        if number > self._engine.num_generated:
            self._engine.fast_forward(number - self._engine.num_generated)
        points: list[list[float]] = self._engine.random(1).tolist()
        return points[0]


def _engine(qmc_type: str, dimensions: int, scramble: bool, seed: int) -> QMCEngine:
    from scipy.stats import qmc  # slow to import

    kind = {"sobol": qmc.Sobol, "halton": qmc.Halton}[qmc_type]
    return kind(dimensions, scramble=scramble, seed=seed)
