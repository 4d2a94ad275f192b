"""Intervals of metrics that are means over rows."""

import math

import numpy as np
import pytest

from sweeps.export import interval as module
from sweeps.export.interval import mean_interval


@pytest.mark.parametrize(
    ("right", "n", "low", "high"),
    [
        (9, 10, 0.5958, 0.9821),
        (0, 20, 0.0, 0.1611),
        (20, 20, 0.8389, 1.0),
        (500, 1000, 0.4691, 0.5309),
    ],
)
def test_of_a_share_it_is_wilsons(right, n, low, high):
    found = mean_interval([1] * right + [0] * (n - right))
    assert (found.method, found.rows) == ("Wilson", n)
    assert (found.low, found.high) == (pytest.approx(low, abs=1e-4), pytest.approx(high, abs=1e-4))


def test_of_another_mean_it_is_the_bootstraps_and_the_same_each_time():
    values = np.random.default_rng(1).exponential(size=400)
    found = mean_interval(values)
    error = values.std(ddof=1) / math.sqrt(400)
    assert found.method == "bootstrap"
    assert found.low == pytest.approx(values.mean() - 1.96 * error, abs=0.2 * error)
    assert found.high == pytest.approx(values.mean() + 1.96 * error, abs=0.2 * error)
    assert mean_interval(values) == found


def test_of_many_rows_it_is_the_normal_one_and_near_the_bootstraps(monkeypatch):
    values = np.random.default_rng(1).exponential(size=400)
    resampled = mean_interval(values)
    monkeypatch.setattr(module, "MANY", 100)
    found = mean_interval(values)
    assert found.method == "normal"
    assert found.low == pytest.approx(resampled.low, abs=0.02)
    assert found.high == pytest.approx(resampled.high, abs=0.02)


def test_intervals_cover_the_truth_about_as_often_as_they_say():
    draw = np.random.default_rng(2)
    shares = [mean_interval(draw.random(80) < 0.9) for _ in range(400)]
    assert 0.92 < np.mean([found.low <= 0.9 <= found.high for found in shares]) < 0.98


@pytest.mark.parametrize("values", [[], [1.0, math.nan], [0.5, math.inf]])
def test_of_nothing_or_of_what_is_not_finite_there_is_none(values):
    assert mean_interval(values) is None
