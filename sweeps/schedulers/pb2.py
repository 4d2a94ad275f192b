"""Population based bandits.

Parker-Holder et al., "Provably Efficient Online Hyperparameter Optimization with Population-Based
Bandits", NeurIPS 2020: algorithm 1.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from optuna.distributions import CategoricalDistribution

from sweeps.schedulers.bandit import Array, Bandit, Points
from sweeps.schedulers.base import Observation
from sweeps.schedulers.population import Member, Population
from sweeps.space.scale import from_unit, to_unit
from sweeps.space.space import Space

_MOST = 100
"""Older intervals than so many are forgotten: what they told of holds no more, and a decision
takes the cube of their number."""


class Pb2(Population):
    """Explores where a Gaussian process expects the next interval to improve the objective most.

    What it learns from is how much the objective improved in each interval of each trial, against
    the interval's parameters and time. A diverged interval counts as the worst one so far. What
    other trials train with at the time counts as known, so that two do not try the same. Only
    numbers can be explored so, each on its own scale; every other parameter is the source's. See
    `Population` for when and from whom.

    Args:
        space: What is swept.
        seed: The sweep's.
        max_t: Steps after which a trial is complete.
        perturbation_interval: Steps between two pauses.
        quantile_fraction: The share of the population that is replaced, and that is copied from.
        hyperparam_mutations: The swept numbers that may change while a trial goes on.
    """

    def __init__(
        self,
        *,
        space: Space,
        seed: int,
        max_t: int,
        perturbation_interval: int,
        quantile_fraction: float = 0.25,
        hyperparam_mutations: Sequence[str] | None = None,
    ) -> None:
        super().__init__(
            space=space,
            seed=seed,
            max_t=max_t,
            perturbation_interval=perturbation_interval,
            quantile_fraction=quantile_fraction,
            hyperparam_mutations=hyperparam_mutations,
        )
        self._axes = [p for p in space.parameters if p.name in self._mutable]
        for parameter in self._axes:
            if isinstance(parameter.distribution(), CategoricalDistribution):
                raise ValueError(
                    f"hyperparam_mutations has {parameter.name!r}, which is a choice, and pb2 "
                    f"explores numbers alone; leave it out, make it a range or an interval, or "
                    f"take pbt"
                )
        self._intervals: list[tuple[float, Array]] = []
        """(time, place) of each interval, and what it gained."""
        self._gains: list[float] = []

    def learn(self, member: Member, seen: Observation) -> None:
        """Note how much a member's last interval improved its objective."""
        if seen.diverged:
            gain = min(self._gains, default=math.nan)
        elif member.began is None or seen.step <= member.began[0]:
            return
        else:
            step, loss = member.began
            gain = (loss - seen.loss) / self._time(seen.step - step)
        if math.isfinite(gain):
            self._intervals.append((self._time(seen.step), self._place(member.params)))
            self._gains.append(gain)

    def explore(self, source: Member, rng: np.random.Generator) -> Mapping[str, Any]:
        """The source's parameters, those that may change at the highest upper confidence bound.

        As they are, where nothing that was looked at meets the space's constraints.
        """
        training = (m for m in self._members.values() if not m.paused)
        pending = self._points((self._time(m.step) + 1, self._place(m.params)) for m in training)
        seen = self._points(self._intervals[-_MOST:])
        bandit = Bandit(seen, np.array(self._gains[-_MOST:]), pending)

        def params_at(place: Array) -> Mapping[str, Any]:
            units = {p.name: float(unit) for p, unit in zip(self._axes, place, strict=True)}
            return self.vary(source, rng, lambda p: from_unit(p.distribution(), units[p.name]))

        def allowed(place: Array) -> bool:
            return not self._space.constraints or self.allows(params_at(place))

        place = bandit.best_place(self._time(source.step) + 1, rng, allowed)
        return source.params if place is None else params_at(place)

    def _time(self, step: int) -> float:
        """Steps as intervals."""
        return step / self._interval

    def _place(self, params: Mapping[str, Any]) -> Array:
        """Where a member's parameters lie in the unit cube; in the middle where it lacks one."""
        return np.array(
            [
                to_unit(p.distribution(), params[p.optuna_name]) if p.optuna_name in params else 0.5
                for p in self._axes
            ]
        )

    def _points(self, points: Iterable[tuple[float, Array]]) -> Points:
        listed = list(points)
        return Points(
            times=np.array([time for time, _ in listed]),
            places=np.array([place for _, place in listed]).reshape(-1, len(self._axes)),
        )
