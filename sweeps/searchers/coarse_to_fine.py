"""Random search from coarse to fine: rounds, each in a smaller box around the best so far."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution

from sweeps.searchers.base import DEFAULT_NUM_SAMPLES
from sweeps.searchers.learner import Learner
from sweeps.searchers.results import Result
from sweeps.searchers.view import View
from sweeps.space.scale import from_unit, to_unit
from sweeps.space.space import Parameter, Space

_Part = tuple[float, float]
"""A stretch of [0, 1], both ends included."""


class CoarseToFine(Learner):
    """Uniform in the scaled space at first; every further round draws from a smaller box.

    A number's side of the box is `shrink` of the last round's, with the best trial in its middle; a
    box that would leave the first bounds is shifted inside, not cut, so that each round is as much
    finer as it says, and an optimum at a bound is met from a whole box. It may leave the last
    round's box, where the best lay at its edge. A choice keeps the values that the `top` best
    trials have. A parameter that the best trial does not have follows the best one that has it.

    What a round is, is settled when its first trial is asked for, and noted there: how many trials
    it has, and around which it lies; neither later results nor a larger `num_samples` change it. It
    begins when the last one is full and half of that has results. The trials still to come are
    shared out evenly among the rounds still to come; those of an extended sweep that has had all
    its rounds make one more.

    Args:
        space: What is searched.
        view: Where the results are.
        seed: The sweep's.
        rungs: The scheduler's.
        num_samples: The sweep's.
        rounds: How many rounds `num_samples` is divided into.
        shrink: Each round's side of the box, as a share of the last one's.
        top: How many of the best trials tell which choices are kept.
    """

    def __init__(
        self,
        *,
        space: Space,
        view: View,
        seed: int,
        rungs: Sequence[int] = (),
        num_samples: int | None = None,
        rounds: int = 3,
        shrink: float = 0.5,
        top: int = 3,
    ) -> None:
        for name, value in (("rounds", rounds), ("top", top)):
            if value < 1:
                raise ValueError(f"{name} is {value}; it must be 1 or more")
        if not 0 < shrink < 1:
            raise ValueError(f"shrink is {shrink}; it must be between 0 and 1")
        self._num_samples = DEFAULT_NUM_SAMPLES if num_samples is None else num_samples
        self._rounds = rounds
        self._shrink = shrink
        self._top = top
        super().__init__(space=space, view=view, seed=seed, rungs=rungs)

    def _begin(self) -> None:
        self._round = -1
        self._first = 0
        self._length = 0
        self._box: dict[str, list[_Part]] = {}
        """By Optuna's name; what is missing is whole."""

    def _notice(self, number: int, changed: Sequence[Result]) -> Any:
        """The round that begins with this trial, if one does."""
        if number < self._first + self._length:
            return None
        if 2 * self._results.count(since=self._first) < self._length:
            return None
        after = self._round + 1
        left = max(1, self._num_samples - number)
        return {
            "round": after,
            "length": math.ceil(left / max(1, self._rounds - after)),
            "around": [result.number for result in self._results.best(self._top)] if after else [],
        }

    def _fold(self, number: int, note: Any) -> None:
        self._first, self._round, self._length = number, note["round"], note["length"]
        around = [p for trial in note["around"] if (p := self._results.params(trial)) is not None]
        side = self._shrink**self._round
        self._box = {
            name: _parts(distribution, values, side)
            for name, distribution in self._distributions.items()
            if (values := [params[name] for params in around if name in params])
        }

    def _draw(self, seed: int) -> Mapping[str, Any]:
        rng = np.random.default_rng(seed)

        def suggest(parameter: Parameter) -> Any:
            parts = self._box.get(parameter.optuna_name, [(0.0, 1.0)])
            return from_unit(
                parameter.distribution(), rng.uniform(*parts[rng.integers(len(parts))])
            )

        return self._space.draw(suggest)


def _parts(distribution: BaseDistribution, values: Sequence[Any], side: float) -> list[_Part]:
    """Where to draw from: around the first of some values, best first; or where choices lie."""
    units = [to_unit(distribution, value) for value in values]
    if isinstance(distribution, CategoricalDistribution):
        return [(unit, unit) for unit in sorted(set(units))]
    low = min(max(units[0] - side / 2, 0.0), 1.0 - side)
    return [(low, low + side)]
