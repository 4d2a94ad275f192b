"""Population based training.

Jaderberg et al., "Population Based Training of Neural Networks", 2017: algorithm 1 with truncation
selection to exploit, and perturbation or resampling to explore (section 4.1).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from sweeps.schedulers.population import Member, Population
from sweeps.space.scale import from_unit
from sweeps.space.space import Parameter, Space

_TRIES = 100


class Pbt(Population):
    """Explores by chance: each parameter is multiplied by a factor, or drawn anew.

    A number stays in its bounds and on its grid, where it moves by one value at least; one that is
    searched as 1 - x is multiplied as 1 - x. Of a choice between numbers it takes the next larger
    or smaller one; any other choice is drawn anew. See `Population` for when and from whom.

    Args:
        space: What is swept.
        seed: The sweep's.
        max_t: Steps after which a trial is complete.
        perturbation_interval: Steps between two pauses.
        quantile_fraction: The share of the population that is replaced, and that is copied from.
        resample_probability: How often a parameter is drawn anew instead.
        perturbation_factors: What a number may be multiplied by, one as likely as another.
        hyperparam_mutations: The swept parameters that may change while a trial goes on.
    """

    def __init__(
        self,
        *,
        space: Space,
        seed: int,
        max_t: int,
        perturbation_interval: int,
        quantile_fraction: float = 0.25,
        resample_probability: float = 0.25,
        perturbation_factors: Sequence[float] = (1.2, 0.8),
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
        if not 0 <= resample_probability <= 1:
            raise ValueError(
                f"resample_probability is {resample_probability}; it must be between 0 and 1"
            )
        if not perturbation_factors or min(perturbation_factors) <= 0:
            raise ValueError(
                f"perturbation_factors is {list(perturbation_factors)}; it must hold numbers above "
                f"0, such as [1.2, 0.8]"
            )
        self._resample = resample_probability
        self._factors = tuple(perturbation_factors)

    def explore(self, source: Member, rng: np.random.Generator) -> Mapping[str, Any]:
        """The source's parameters, those that may change perturbed or drawn anew.

        As they are, where no change that was tried meets the space's constraints.
        """

        def change(parameter: Parameter) -> Any:
            value = source.params[parameter.optuna_name]
            return self._mutate(parameter.distribution(), value, rng)

        for _ in range(_TRIES):
            params = self.vary(source, rng, change)
            if self.allows(params):
                return params
        return source.params

    def _mutate(self, distribution: BaseDistribution, value: Any, rng: np.random.Generator) -> Any:
        if rng.random() < self._resample:
            return from_unit(distribution, rng.random())
        factor = self._factors[rng.integers(len(self._factors))]
        match distribution:
            case IntDistribution() | FloatDistribution(step=float()):
                return _on_grid(distribution, value, factor)
            case FloatDistribution():
                return min(max(value * factor, distribution.low), distribution.high)
            case CategoricalDistribution() if all(map(_is_number, distribution.choices)):
                return _neighbour(distribution, value, up=factor > 1)
        return from_unit(distribution, rng.random())


def _on_grid(distribution: IntDistribution | FloatDistribution, value: Any, factor: float) -> Any:
    """The value times the factor, or a step further where that is no other value."""
    step = distribution.step
    assert step is not None
    up = factor > 1 if value == 0 else value * factor > value
    moved = round(value * (factor - 1) / step) or (1 if up else -1)
    last = round((distribution.high - distribution.low) / step)
    index = round((value - distribution.low) / step) + moved
    return min(distribution.low + min(max(index, 0), last) * step, distribution.high)


def _neighbour(distribution: CategoricalDistribution, value: Any, *, up: bool) -> Any:
    ordered: list[Any] = sorted(distribution.choices, key=float)
    index = ordered.index(value) + (1 if up else -1)
    return ordered[min(max(index, 0), len(ordered) - 1)]


def _is_number(choice: Any) -> bool:
    return isinstance(choice, int | float) and not isinstance(choice, bool)
