"""Known good points: trials are what the user says, as far as he says it.

Those of `hydra.sweeper.initial` come first; one that is enqueued while the sweep runs comes next.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sweeps.errors import ConfigError, did_you_mean
from sweeps.searchers.base import Searcher, ask_seed, seed_of
from sweeps.searchers.view import View
from sweeps.space.scale import from_unit
from sweeps.space.space import Parameter, Space

_INITIAL = "hydra.sweeper.initial"
_TRIES = 100
"""Proposals to complete a point with, until one meets the constraints."""
_DRAWS = 1000
"""Uniform draws after that."""


class GivenPoints:
    """What a given point leaves open is the searcher's to propose.

    Trial number n takes what was enqueued for it, else the next of the initial points.
    """

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
        self._points = [given_point(point, space, what=_INITIAL) for point in points]
        self._space = space
        self._view = view
        self._seed = seed

    def ask(self, number: int, attempt: int = 0) -> Mapping[str, Any]:
        """The configuration of trial `number`."""
        point = self._point(number)
        if point is None:
            return self._searcher.ask(number, attempt)
        for again in range(attempt, attempt + _TRIES):
            params = self._complete(point, number, again)
            if not self._space.violated(self._space.values(params)):
                return params
        drawn = completed(point, self._space, self._seed, number)
        if drawn is None:
            raise ConfigError(f"{_INITIAL}: no configuration with {point} meets the constraints")
        return drawn

    def _point(self, number: int) -> Mapping[str, Any] | None:
        enqueued = self._view.enqueued
        if number in enqueued:
            return self._enqueued(number)
        if number >= len(self._points) + len(enqueued):
            return None
        place = number - sum(taken < number for taken in enqueued)
        return self._points[place] if place < len(self._points) else None

    def _enqueued(self, number: int) -> Mapping[str, Any] | None:
        """What was enqueued; None where the space was changed since and has no place for it."""
        try:
            point = given_point(self._view.enqueued[number], self._space, what="what is enqueued")
        except ConfigError:
            return None
        is_there = completed(point, self._space, self._seed, number) is not None
        return point if is_there else None

    def _complete(self, point: Mapping[str, Any], number: int, attempt: int) -> dict[str, Any]:
        """A point, and for what it leaves open a proposal, or where that has nothing a draw.

        It takes the proposal's place: it belongs to the generation that this was drawn for.
        """
        proposed = self._searcher.ask(number, attempt)
        self._view.retract(keep_notes=True)
        rng = np.random.default_rng(ask_seed(self._seed, number, attempt))
        return _drawn({**proposed, **point}, self._space, rng)


def completed(
    point: Mapping[str, Any], space: Space, seed: int, number: int
) -> dict[str, Any] | None:
    """A point completed by uniform draws that meets the constraints; None where none is found.

    Args:
        point: Optuna's values by Optuna's name.
        space: What is swept.
        seed: The sweep's.
        number: The trial's.
    """
    for draw in range(_DRAWS if space.constraints else 1):
        rng = np.random.default_rng(seed_of(seed, number, _TRIES + draw))
        params = _drawn(point, space, rng)
        if not space.violated(space.values(params)):
            return params
    return None


def _drawn(known: Mapping[str, Any], space: Space, rng: np.random.Generator) -> dict[str, Any]:
    """A configuration with what is known, and a draw for the rest."""

    def suggest(parameter: Parameter) -> Any:
        drawn = from_unit(parameter.distribution(), rng.random())
        return known.get(parameter.optuna_name, drawn)

    return space.draw(suggest)


def given_point(point: Mapping[str, Any], space: Space, *, what: str) -> dict[str, Any]:
    """A point that a user gives as far as he likes, by name: Optuna's values by Optuna's name.

    Raises:
        ConfigError: It names or sets what the space has not, or breaks a condition or a constraint;
            the message begins with `what`.
    """
    parameters = {p.name: p for p in space.parameters}
    params, values = dict[str, Any](), dict[str, Any]()
    for name, value in point.items():
        if name not in parameters:
            raise ConfigError(
                f"{what} names {name}, which is not in the search space"
                f"{did_you_mean(name, parameters)}"
            )
        parameter = parameters[name]
        try:
            params[parameter.optuna_name] = parameter.from_value(value)
        except ConfigError as error:
            raise ConfigError(f"{what}: {error}") from error
        values[name] = parameter.to_value(params[parameter.optuna_name])
    for name in point:
        for condition in parameters[name].when:
            if not condition.holds(values):
                raise ConfigError(
                    f"{what}: {dict(point)} gives {name}, which exists only when "
                    f"{condition}; give that too, or leave {name} out"
                )
    for constraint in space.violated(values):
        raise ConfigError(f"{what}: {dict(point)} breaks {constraint.text!r}")
    return params
