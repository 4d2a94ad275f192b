"""Population based bandits: the Gaussian process, and the sweeps that it leads."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import pytest

from sweeps.errors import ConfigError
from sweeps.journal.events import (
    Asked,
    Closed,
    Created,
    Ended,
    Event,
    Opened,
    Started,
)
from sweeps.journal.file import Journal, read_journal
from sweeps.journal.objective import Objective
from sweeps.journal.status import Decision
from sweeps.schedulers import Observation, Promote, make_scheduler
from sweeps.schedulers.bandit import Bandit, Kernel, Points
from sweeps.simulate import Setup, Training, simulate
from sweeps.space.space import parse_space

SPACE, _ = parse_space(
    {
        "lr": "tag(log, interval(1e-4, 1))",
        "drop": "interval(0, 1)",
        "batch": "int(interval(1, 64))",
        "net": "mlp, convnet",
    },
    [],
)
PB2 = {
    "name": "pb2",
    "max_t": 40,
    "perturbation_interval": 5,
    "hyperparam_mutations": ["lr", "drop"],
}
NOWHERE = Points(times=np.empty(0), places=np.empty((0, 2)))


def points(count: int, *, seed: int = 0, times: int = 5) -> Points:
    rng = np.random.default_rng(seed)
    return Points(times=rng.integers(0, times, count).astype(float), places=rng.random((count, 2)))


def anywhere(place: np.ndarray) -> bool:
    return True


# The Gaussian process


def test_covariance_falls_with_distance_and_with_time() -> None:
    kernel = Kernel(lengthscale=0.5, noise=0.1, epsilon=0.2)
    a = Points(times=np.array([1.0]), places=np.array([[0.1, 0.4]]))
    b = Points(times=np.array([4.0]), places=np.array([[0.6, 0.4]]))
    assert kernel.between(a, b)[0, 0] == pytest.approx(math.exp(-0.5) * 0.8**1.5)
    assert kernel.between(a, a)[0, 0] == 1.0


def test_the_posterior_is_the_textbooks() -> None:
    seen, at = points(12), points(5, seed=1)
    values = np.sin(4 * seen.places[:, 0]) + seen.times
    bandit = Bandit(seen, values, NOWHERE)
    y = (values - values.mean()) / values.std()
    observed, cross = bandit.kernel.observed(seen), bandit.kernel.between(at, seen)
    variance = y @ np.linalg.solve(observed, y) / len(y)
    covariance = variance * (
        bandit.kernel.between(at, at) - cross @ np.linalg.solve(observed, cross.T)
    )
    found, deviation = bandit.mean_and_deviation(at)
    assert found == pytest.approx(cross @ np.linalg.solve(observed, y))
    assert deviation == pytest.approx(np.sqrt(np.diag(covariance)))


def test_the_kernel_is_the_one_of_the_largest_marginal_likelihood() -> None:
    seen = points(40)
    values = np.sin(6 * seen.places[:, 0]) + 0.1 * np.random.default_rng(2).standard_normal(40)
    y = (values - values.mean()) / values.std()

    def likelihood(kernel: Kernel) -> float:
        observed = kernel.observed(seen)
        fit = y @ np.linalg.solve(observed, y)
        return -len(y) / 2 * math.log(fit) - np.linalg.slogdet(observed)[1] / 2

    best = Bandit(seen, values, NOWHERE).kernel
    for lengthscale in (0.1, 0.3, 1.0):
        for noise in (0.003, 0.03, 0.3):
            for epsilon in (0.002, 0.05, 0.4):
                other = Kernel(lengthscale=lengthscale, noise=noise, epsilon=epsilon)
                assert likelihood(best) >= likelihood(other) - 1e-6


def test_old_observations_are_forgotten_where_the_function_changes() -> None:
    rng = np.random.default_rng(0)
    places = rng.random((60, 2))
    times = np.repeat(np.arange(10.0), 6)
    values = np.where(times < 5, places[:, 0], -places[:, 0])  # turns over
    bandit = Bandit(Points(times=times, places=places), values, NOWHERE)
    low, high = (Points(times=np.array([10.0]), places=np.array([[x, 0.5]])) for x in (0.1, 0.9))
    assert bandit.mean_and_deviation(low)[0] > bandit.mean_and_deviation(high)[0]


def test_what_is_pending_narrows_the_deviation_there_and_leaves_the_mean() -> None:
    seen, values = points(10), np.arange(10.0)
    there = Points(times=np.array([5.0]), places=np.array([[0.9, 0.05]]))
    alone, with_pending = Bandit(seen, values, NOWHERE), Bandit(seen, values, there)
    mean_before, before = alone.mean_and_deviation(there)
    mean_after, after = with_pending.mean_and_deviation(there)
    assert after[0] < 0.8 * before[0]
    assert mean_after == pytest.approx(mean_before)


def test_it_looks_where_the_function_is_high_once_it_knows() -> None:
    seen = points(80)
    values = -((seen.places - [0.3, 0.7]) ** 2).sum(axis=1)
    place = Bandit(seen, values, NOWHERE).best_place(4.0, np.random.default_rng(0), anywhere)
    assert place == pytest.approx([0.3, 0.7], abs=0.1)


@pytest.mark.parametrize("values", [[], [1.0], [2.0, 2.0, 2.0]])
def test_it_looks_anywhere_while_it_knows_nothing(values: list[float]) -> None:
    bandit = Bandit(points(len(values)), np.array(values), NOWHERE)
    place = bandit.best_place(1.0, np.random.default_rng(0), anywhere)
    assert np.all((place >= 0) & (place <= 1))


def test_it_looks_only_where_it_may() -> None:
    seen = points(80)
    bandit = Bandit(seen, -((seen.places - [0.3, 0.7]) ** 2).sum(axis=1), NOWHERE)
    rng = np.random.default_rng(0)
    place = bandit.best_place(4.0, rng, lambda place: place[0] > 0.6)
    assert place[0] > 0.6
    assert bandit.best_place(4.0, rng, lambda place: False) is None


# Sweeps


def moving(
    state: float, values: Mapping[str, Any], trial: int, number: int
) -> tuple[float, Mapping[str, float], float]:
    """The best learning rate falls while the model trains."""
    best = -0.5 - 2 * number / 40
    off = ((math.log10(values["lr"]) - best) / 0.7) ** 2 + ((values["drop"] - 0.7) / 0.4) ** 2
    state *= 1 - 0.12 * math.exp(-off)
    return state, {"loss": state}, [1.0, 2.5, 1.0][(trial + number) % 3]


MOVING = Training(begin=lambda trial: 1.0, step=moving)


def setup(seed: int, **fields: Any) -> Setup:
    given = {"num_samples": 6, "workers": 3, "scheduler": PB2, **fields}
    objective = Objective(metric="loss")
    return Setup(space=SPACE, objective=objective, seed=seed, searcher={"name": "random"}, **given)


def test_it_follows_a_moving_optimum_better_than_fixed_parameters_can() -> None:
    def best(seed: int, scheduler: Mapping[str, Any]) -> float:
        return simulate(MOVING, setup(seed, scheduler=scheduler)).trials.best.value

    apart = {**PB2, "quantile_fraction": 0.0}
    ratios = [math.log(best(seed, PB2)) / math.log(best(seed, apart)) for seed in range(4)]
    assert mean(ratios) > 1.2


def test_what_it_changes_are_the_numbers_that_may_change() -> None:
    result = simulate(MOVING, setup(1))
    params, copies = dict[int, Mapping[str, Any]](), 0
    for event in result.events:
        if isinstance(event, Started) and event.source is not None:
            copies += 1
            source = params[event.source]
            same = {name for name in source if source[name] == event.params[name]}
            assert same == {"batch", "net"}
            assert 1e-4 <= event.params["lr"] <= 1
        if isinstance(event, Asked | Started) and event.params is not None:
            params[event.trial] = event.params
    assert copies > 3


def decisions(events: Iterable[Event]) -> list[Event]:
    return [
        event if isinstance(event, Ended | Created) else replace(event, run=0)
        for event in events
        if not isinstance(event, Opened | Closed)
        and not (isinstance(event, Started) and event.reason == "resume")
    ]


def test_a_sweep_cut_anywhere_goes_on_as_if_it_had_not_been(tmp_path: Path) -> None:
    path, cut = tmp_path / "journal.log", tmp_path / "cut.log"
    unbroken = simulate(MOVING, setup(0), log=Journal(path))
    lines = path.read_bytes().splitlines(keepends=True)
    for kept in range(40, len(lines), 90):
        cut.write_bytes(b"".join(lines[:kept]))
        resumed = simulate(MOVING, setup(0), history=read_journal(cut))
        assert repr(decisions(resumed.events)) == repr(decisions(unbroken.events)), kept


def test_it_keeps_away_from_where_trials_diverge() -> None:
    scheduler = make_scheduler(**PB2, space=SPACE, seed=0)
    rng = np.random.default_rng(0)
    for trial in range(30):
        values = {"lr": 0.01, "drop": float(rng.random()), "batch": 8, "net": "mlp"}
        scheduler.on_start(trial, SPACE.optuna_params(values))
        for step in (5, 10):
            diverged = step == 10 and values["drop"] > 0.5
            loss = math.inf if diverged else 1.0 - 0.02 * step * (1 + 0.1 * values["drop"])
            seen = Observation(trial=trial, step=step, loss=loss, resumable=not diverged)
            assert scheduler.on_reports([seen]) == [Decision.PAUSE]
            if step == 5:
                scheduler.on_start(trial, SPACE.optuna_params(values))
    drops = []
    for _ in range(8):
        step = scheduler.next(can_start=False, running=0)
        assert isinstance(step, Promote)
        if step.exploit is None:
            scheduler.on_start(step.trial, {})
            continue
        drops.append(step.exploit.params["drop"])
        source = step.exploit.source
        scheduler.on_exploit(step.trial, step.exploit.params, source=source, step=10)
    assert len(drops) >= 3
    assert mean(drops) < 0.5


def test_a_choice_cannot_be_explored() -> None:
    options = {**PB2, "hyperparam_mutations": ["lr", "net"]}
    with pytest.raises(ConfigError, match="has 'net', which is a choice, and pb2 explores numbers"):
        make_scheduler(**options, space=SPACE, seed=0)
