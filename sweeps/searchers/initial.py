"""Known good points first: the first trials are what the user says, as far as he says it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sweeps.errors import ConfigError, did_you_mean
from sweeps.searchers.base import Searcher, ask_seed
from sweeps.searchers.view import View
from sweeps.space.scale import from_unit
from sweeps.space.space import Parameter, Space

_TRIES = 100
"""Proposals to complete a point with, until one meets the constraints."""


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
        if number >= len(self._points):
            return self._searcher.ask(number, attempt)
        for again in range(attempt, attempt + _TRIES):
            params = self._complete(number, again)
            if not self._space.violated(self._space.values(params)):
                return params
        raise ConfigError(
            f"hydra.sweeper.initial: no configuration with {self._points[number]} meets the "
            f"constraints"
        )

    def _complete(self, number: int, attempt: int) -> dict[str, Any]:
        """A point, and for what it leaves open a proposal, or where that has nothing a draw.

        It takes the proposal's place: it belongs to the generation that this was drawn for.
        """
        proposed = self._searcher.ask(number, attempt)
        self._view.retract(keep_notes=True)
        known = {**proposed, **self._points[number]}
        rng = np.random.default_rng(ask_seed(self._seed, number, attempt))

        def suggest(parameter: Parameter) -> Any:
            drawn = from_unit(parameter.distribution(), rng.random())
            return known.get(parameter.optuna_name, drawn)

        return self._space.draw(suggest)


def _checked(point: Mapping[str, Any], space: Space) -> dict[str, Any]:
    parameters = {p.name: p for p in space.parameters}
    params, values = dict[str, Any](), dict[str, Any]()
    for name, value in point.items():
        if name not in parameters:
            raise ConfigError(
                f"hydra.sweeper.initial names {name}, which is not in the search space"
                f"{did_you_mean(name, parameters)}"
            )
        parameter = parameters[name]
        try:
            params[parameter.optuna_name] = parameter.from_value(value)
        except ConfigError as error:
            raise ConfigError(f"hydra.sweeper.initial: {error}") from error
        values[name] = parameter.to_value(params[parameter.optuna_name])
    for name in point:
        for condition in parameters[name].when:
            if not condition.holds(values):
                raise ConfigError(
                    f"hydra.sweeper.initial: {dict(point)} gives {name}, which exists only when "
                    f"{condition}; give that too, or leave {name} out"
                )
    for constraint in space.violated(values):
        raise ConfigError(f"hydra.sweeper.initial: {dict(point)} breaks {constraint.text!r}")
    return params
