"""What a retest states is held against simulated cases whose truth is known."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from sweeps.retest import statistics
from sweeps.retest.statistics import LEVEL, chances, mean_interval, most_coverage

Noise = Callable[[np.random.Generator, tuple[int, int]], np.ndarray]
DIFFERENCES = (0.1, 0.3, 1.0, 3.0)
"""How far configurations lie apart, in standard deviations of a run: from hardly to plainly."""


@pytest.fixture(autouse=True)
def fewer_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statistics, "_DRAWS", 1000)
    monkeypatch.setattr(statistics, "_RESAMPLES", 999)


def normal(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    return rng.normal(size=shape)


def stated_and_true(
    *, configurations: int, seeds: int, cases: int, paired: bool = True, noise: Noise = normal
) -> tuple[np.ndarray, np.ndarray]:
    """Over simulated retests: each chance that is stated, and whether that one was the best."""
    rng = np.random.default_rng([configurations, seeds])
    stated, true = list[float](), list[bool]()
    for _ in range(cases):
        mean = rng.choice(DIFFERENCES) * rng.normal(size=configurations)
        of_seed = rng.normal(size=seeds) * 2 * paired
        losses = mean[:, None] + of_seed + noise(rng, (configurations, seeds))
        found = chances(losses, paired=paired)
        assert found is not None
        assert sum(found) == pytest.approx(1)
        stated += found
        true += [i == mean.argmin() for i in range(configurations)]
    return np.array(stated), np.array(true)


def check_calibrated(stated: np.ndarray, true: np.ndarray, *, within: float) -> None:
    """Of what is given a chance of p, a share of p must be the best."""
    for low, high in ((0, 0.1), (0.1, 0.3), (0.3, 0.5), (0.5, 0.7), (0.7, 0.9), (0.9, 1.01)):
        these = (stated >= low) & (stated < high)
        error = math.sqrt(stated[these].mean() * (1 - stated[these].mean()) / these.sum())
        gap = abs(stated[these].mean() - true[these].mean())
        assert gap < within + 2 * error, f"of chances from {low} to {high}: {gap:.3f} off"


@pytest.mark.parametrize("seeds", [3, 5])
def test_the_chances_of_being_best_are_calibrated(seeds: int) -> None:
    stated, true = stated_and_true(configurations=5, seeds=seeds, cases=400)

    check_calibrated(stated, true, within=0.05)


@pytest.mark.slow
@pytest.mark.parametrize("noise", [normal, lambda rng, shape: rng.standard_t(3, size=shape)])
@pytest.mark.parametrize(("configurations", "seeds"), [(2, 3), (3, 4), (5, 5), (10, 5)])
@pytest.mark.parametrize("paired", [True, False])
def test_they_are_whatever_the_number_of_configurations_and_with_heavy_tails(
    noise: Noise, configurations: int, seeds: int, paired: bool
) -> None:
    stated, true = stated_and_true(
        configurations=configurations, seeds=seeds, cases=1000, paired=paired, noise=noise
    )

    check_calibrated(stated, true, within=0.07)


def test_counting_the_best_of_bootstrapped_means_is_surer_of_itself_than_it_may_be() -> None:
    rng = np.random.default_rng(0)
    ours, counted, right = 0.0, 0.0, 0
    for _ in range(300):
        mean = rng.choice(DIFFERENCES) * rng.normal(size=5)
        losses = mean[:, None] + rng.normal(size=(5, 3))
        picked = losses[:, rng.integers(3, size=(400, 3))].mean(2).argmin(0)
        leader = losses.mean(1).argmin()
        counted += (picked == leader).mean()
        ours += chances(losses, paired=True)[leader]
        right += leader == mean.argmin()

    assert counted / 300 > right / 300 + 0.1
    assert ours / 300 == pytest.approx(right / 300, abs=0.06)


@pytest.mark.parametrize(("seeds", "least", "most"), [(3, 0.68, 0.82), (5, 0.84, 0.95)])
def test_an_interval_holds_the_true_mean_nearly_as_often_as_so_few_seeds_allow(
    seeds: int, least: float, most: float
) -> None:
    rng = np.random.default_rng(seeds)
    holds = 0
    for _ in range(200):
        low, high = mean_interval(rng.normal(size=seeds))
        holds += low <= 0 <= high

    assert least < holds / 200 < most
    assert holds / 200 < most_coverage(seeds) + 0.05


def test_with_many_seeds_it_holds_it_as_often_as_it_says() -> None:
    rng = np.random.default_rng(1)
    intervals = [mean_interval(rng.exponential(size=20)) for _ in range(200)]
    holds = np.mean([low <= 1 <= high for low, high in intervals])

    assert holds == pytest.approx(LEVEL, abs=0.05)


def test_an_interval_lies_within_the_values_and_around_their_mean() -> None:
    values = [0.1, 0.5, 0.3, 0.4, 0.2]
    low, high = mean_interval(values)

    assert min(values) <= low < np.mean(values) < high <= max(values)
    assert mean_interval(values) == (low, high)


def test_one_value_has_no_interval_and_equal_ones_have_an_empty_one() -> None:
    assert mean_interval([0.5]) is None
    assert mean_interval([0.5, 0.5, 0.5]) == (0.5, 0.5)


def test_what_seeds_do_to_all_alike_tells_nothing_apart() -> None:
    own = np.array([[0.0, 0.1, -0.1], [1.0, 1.1, 1.0], [2.0, 1.9, 2.1]])
    same_for_all = np.array([50.0, -80.0, 10.0])

    with_it = chances(own + same_for_all, paired=True)
    assert with_it == pytest.approx(chances(own, paired=True), abs=0.01)
    assert with_it[0] > 0.95
    assert chances(own + same_for_all, paired=False)[0] < 0.5


def test_runs_that_gave_no_value_make_it_less_sure() -> None:
    whole = np.array([[0.0, 0.2, 0.1, 0.3], [0.3, 0.4, 0.5, 0.6], [0.9, 0.9, 1.1, 1.2]])
    gaps = whole.copy()
    gaps[0, 1:] = np.nan

    assert 0.4 < chances(gaps, paired=True)[0] < chances(whole, paired=True)[0]


def test_one_seed_or_one_configuration_tells_no_chance() -> None:
    assert chances(np.array([[0.1], [0.2]]), paired=True) is None
    assert chances(np.array([[0.1], [0.2]]), paired=False) is None
    assert chances(np.array([[0.1, 0.2]]), paired=True) is None


def test_configurations_that_are_all_alike_have_equal_chances() -> None:
    assert chances(np.full((4, 3), 0.25), paired=True) == [0.25] * 4


def test_a_difference_without_any_noise_is_certain() -> None:
    found = chances(np.array([[0.1] * 3, [0.2] * 3, [0.3] * 3]), paired=True)

    assert found[0] > 0.97
