"""Known good points first: the first trials are what the user says, as far as he says it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sweeps.errors import ConfigError, did_you_mean
from sweeps.scale import from_unit
from sweeps.searchers.base import Searcher, ask_seed
from sweeps.searchers.view import View
from sweeps.space import Parameter, Space


class InitialPoints:
    """Trial number n gets the n-th point; what a point leaves open is the searcher's to propose."""

    def __init__(
        self,
        searcher: Searcher,
        points: Sequence[Mapping[str, Any]],
        *,
        space: Space,
        view: View,
        seed: int,
    ) -> None:
        self.limit = searcher.limit
        self._searcher = searcher
        self._points = [_checked(point, space) for point in points]
        self._space = space
        self._view = view
        self._seed = seed

    def ask(self, number: int, attempt: int = 0) -> Mapping[str, Any]:
        """The configuration of trial `number`."""
        proposed = self._searcher.ask(number, attempt)
        if number >= len(self._points):
            return proposed
        self._view.retract()
        known = {**proposed, **self._points[number]}
        rng = np.random.default_rng(ask_seed(self._seed, number, attempt))

        def suggest(parameter: Parameter) -> Any:
            drawn = from_unit(parameter.distribution(), rng.random())
            return known.get(parameter.optuna_name, drawn)

        return self._space.draw(suggest)


def _checked(point: Mapping[str, Any], space: Space) -> dict[str, Any]:
    parameters = {p.name: p for p in space.parameters}
    params = {}
    for name, value in point.items():
        if name not in parameters:
            raise ConfigError(
                f"hydra.sweeper.initial names {name}, which is not in the search space"
                f"{did_you_mean(name, parameters)}"
            )
        try:
            params[parameters[name].optuna_name] = parameters[name].from_value(value)
        except ConfigError as error:
            raise ConfigError(f"hydra.sweeper.initial: {error}") from error
    return params
