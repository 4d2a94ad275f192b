from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from sweeps.space.scale import from_unit, to_unit

DISTRIBUTIONS: list[BaseDistribution] = [
    FloatDistribution(-2.0, 5.0),
    FloatDistribution(1e-5, 1.0, log=True),
    FloatDistribution(0.1, 0.9, step=0.2),
    FloatDistribution(3.0, 3.0),
    IntDistribution(-3, 9),
    IntDistribution(2, 10, step=4),
    IntDistribution(1, 300, log=True),
    IntDistribution(4, 4),
    CategoricalDistribution(("relu", "tanh", None)),
]


@pytest.mark.parametrize("distribution", DISTRIBUTIONS, ids=str)
@given(unit=st.floats(-0.5, 1.5))
def test_a_point_gives_a_value_of_the_distribution_that_lies_near_it(
    distribution: BaseDistribution, unit: float
) -> None:
    value = from_unit(distribution, unit)
    assert distribution._contains(distribution.to_internal_repr(value))
    there = to_unit(distribution, value)
    assert 0 <= there <= 1
    again = from_unit(distribution, there)
    assert again == pytest.approx(value) if isinstance(value, float) else again == value


def test_equal_steps_are_equal_factors_on_a_log_scale() -> None:
    values = [from_unit(FloatDistribution(1e-4, 1.0, log=True), u) for u in (0, 0.25, 0.5, 0.75, 1)]
    assert values == pytest.approx([1e-4, 1e-3, 1e-2, 1e-1, 1.0])


def test_each_of_several_values_has_an_equal_share() -> None:
    for distribution in (IntDistribution(1, 4), CategoricalDistribution(("a", "b", "c", "d"))):
        drawn = [from_unit(distribution, u) for u in (np.arange(400) + 0.5) / 400]
        assert {drawn.count(value) for value in set(drawn)} == {100}
