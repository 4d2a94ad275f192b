from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import pytest

from sweeps.errors import ConfigError
from sweeps.journal.events import Asked, Ended, Event, Reported, Started
from sweeps.journal.objective import Objective
from sweeps.journal.status import Decision, Status
from sweeps.searchers import View, make_searcher
from sweeps.simulate import Setup, simulate
from sweeps.space.space import Parameter, Space, parse_space

MIXED, _ = parse_space(
    {
        "lr": "tag(log, interval(1e-4, 1))",
        "x": "interval(0, 1)",
        "n": "int(interval(1, 16))",
        "net": "a, b, c, d",
    },
    [],
)
LINE, _ = parse_space({"x": "interval(0, 1)"}, [])


def loss(values: Mapping[str, Any]) -> float:
    near = ((math.log10(values["lr"]) + 2.7) / 4) ** 2 + (values["x"] - 0.3) ** 2
    return near + ((values["n"] - 5) / 16) ** 2 + 0.15 * "cadb".index(values["net"])


def best_loss(searcher: Mapping[str, Any], seed: int, **fields: Any) -> float:
    def curve(values: Mapping[str, Any], trial: int) -> Iterable[tuple[dict[str, float], float]]:
        rng = np.random.default_rng(trial)
        for step in range(1, 10):
            noise = 0.05 * rng.normal() + 0.5
            yield {"objective": loss(values) + (noise / step if step < 9 else 0)}, 1.0

    setup = Setup(space=MIXED, num_samples=60, searcher=searcher, seed=seed, **fields)
    return min(loss(MIXED.values(trial.params)) for trial in simulate(curve, setup).trials)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"workers": 8},
        {"workers": 4, "scheduler": {"name": "asha", "max_t": 9}},
    ],
    ids=["alone", "8 workers", "asha"],
)
def test_it_comes_closer_than_random_search(fields: dict[str, Any]) -> None:
    annealed = [best_loss({"name": "annealing"}, seed, **fields) for seed in range(6)]
    at_random = [best_loss({"name": "random"}, seed, **fields) for seed in range(6)]
    assert np.mean(annealed) < 0.4 * np.mean(at_random)


# The chain, driven by hand


class Chain:
    """A searcher over a view, fed with events; trial n's point is what it was asked with."""

    def __init__(self, space: Space = LINE, seed: int = 0, **options: Any) -> None:
        self.space, self.view = space, View(Objective())
        self.searcher = make_searcher(
            "annealing", space=space, view=self.view, seed=seed, **options
        )
        self.points: list[Mapping[str, Any]] = []

    def apply(self, event: Event) -> None:
        self.view.apply(event)

    def ask(self) -> Mapping[str, Any]:
        number = len(self.points)
        params = self.searcher.ask(number)
        distributions = {name: self.space.distributions()[name] for name in params}
        self.apply(
            Asked(
                trial=number,
                run=1,
                params=params,
                distributions=distributions,
                notes=self.view.take_notes(),
                time=0.0,
            )
        )
        self.points.append(params)
        return params

    def report(self, trial: int, step: int, value: float) -> None:
        self.apply(
            Reported(
                trial=trial,
                run=1,
                step=step,
                metrics={},
                value=value,
                checkpoint="x",
                decision=Decision.PAUSE,
                time=0.0,
            )
        )

    def promote(self, trial: int) -> None:
        self.apply(Started(trial=trial, run=1, reason="promote", checkpoint="x", time=0.0))

    def end(self, trial: int, status: Status, value: float | None = None) -> None:
        self.apply(
            Ended(
                trial=trial,
                status=status,
                value=value,
                metrics={},
                error=None,
                cause=None,
                time=0.0,
            )
        )

    def complete(self, trial: int, value: float) -> None:
        self.end(trial, Status.COMPLETE, value)

    def is_at(self, trial: int) -> bool:
        """Whether neighbours are now drawn around a trial's point: with tiny steps they lie on it.

        The trial asked for to see it is left running.
        """
        x = self.ask()["x"]
        return abs(x - self.points[trial]["x"]) < 1e-3


TINY = {"step": 1e-6, "cooling": 1.0}
COLD = {**TINY, "initial_temperature": 1e-9}
HOT = {**TINY, "initial_temperature": 1e9}


def chain_of(asked: int, **options: Any) -> Chain:
    """With so many trials asked for before anything is known: points of the whole range."""
    chain = Chain(**options)
    for _ in range(asked):
        chain.ask()
    return chain


def test_a_better_neighbour_is_accepted_and_when_cold_a_worse_one_is_not() -> None:
    chain = chain_of(3, **COLD)
    chain.complete(0, 0.5)
    assert chain.is_at(0)
    chain.complete(1, 0.4)
    assert chain.is_at(1)
    chain.complete(2, 0.6)
    assert chain.is_at(1)


def test_when_hot_a_worse_one_is_accepted() -> None:
    chain = chain_of(3, **HOT)
    for trial, value in enumerate([0.4, 0.5, 0.6]):
        chain.complete(trial, value)
        assert chain.is_at(trial)


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_a_worse_one_is_accepted_by_metropolis_whatever_the_scale(scale: float) -> None:
    accepted = 0
    for seed in range(300):
        chain = chain_of(5, **TINY, initial_temperature=0.8, seed=seed)
        for trial, value in enumerate([3, 2, 1, 0, 1]):  # at last worse by the spread
            chain.complete(trial, value * scale)
        accepted += chain.is_at(4)
    assert accepted / 300 == pytest.approx(math.exp(-1 / 0.8), abs=0.08)


def test_what_is_hot_cools_with_each_result() -> None:
    chain = chain_of(20, step=1e-6, initial_temperature=1e3, cooling=0.5)
    for trial in range(20):  # from 1e3 to 1e-3
        chain.complete(trial, trial / 20)
    assert not chain.is_at(19)


def test_steps_become_shorter_but_do_not_vanish() -> None:
    chain = chain_of(1, cooling=0.9)
    chain.complete(0, 0.0)
    here = chain.points[0]["x"]
    steps = []
    for trial in range(1, 120):
        steps.append(abs(chain.ask()["x"] - here))
        chain.complete(trial, 1.0)
    early, late = np.mean(steps[:10]), np.mean(steps[-60:])
    assert 0.001 < late < 0.2 * early


def test_a_choice_and_an_integer_still_move_when_it_is_cold_and_no_proposal_is_the_current() -> (
    None
):
    space, _ = parse_space({"net": "a, b, c", "n": "int(interval(1, 99))"}, [])
    chain = chain_of(1, space=space, cooling=0.5, initial_temperature=1e-6)
    chain.complete(0, 0.0)
    here, moved = chain.points[0], Counter[str]()
    for trial in range(1, 300):
        params = chain.ask()
        chain.complete(trial, 1.0)
        assert params != here
        moved.update(name for name in params if params[name] != here[name])
        assert trial < 30 or abs(params["n"] - here["n"]) <= 6
    assert 3 <= moved["net"] < 60
    assert moved["n"] > 200


def test_a_parameter_that_the_current_point_does_not_have_is_drawn_from_its_range() -> None:
    space, _ = parse_space({"net": "flat, deep", "x": "interval(0, 1)"}, [])
    net, x = space.parameters

    class Nested(Space):
        """x exists where the net is deep."""

        def draw(self, suggest: Callable[[Parameter], Any]) -> dict[str, Any]:
            chosen = {"net": suggest(net)}
            return {**chosen, "x": suggest(x)} if chosen["net"] == "deep" else chosen

    nested = Nested(space.parameters)
    for name, width in (("flat", 0.2), ("deep", 0.002)):
        chain = chain_of(8, space=nested, **{**COLD, "step": 0.001})
        start = next(n for n, point in enumerate(chain.points) if point["net"] == name)
        chain.complete(start, 0.0)
        drawn = [chain.ask() for _ in range(300)]
        xs = [params["x"] for params in drawn if params["net"] == "deep"]
        assert bool(np.std(xs) > width) == (name == "flat")
        assert all(("x" in params) == (params["net"] == "deep") for params in drawn)


# Losses at different rungs


def test_two_trials_meet_at_the_highest_rung_that_both_have_reached() -> None:
    chain = chain_of(3, **COLD, rungs=[1, 3])
    chain.report(0, 1, 0.5)
    chain.report(1, 1, 0.6)
    assert chain.is_at(0)
    chain.promote(0)
    chain.report(0, 3, 0.2)
    chain.promote(1)
    chain.report(1, 3, 0.1)
    assert chain.is_at(1)
    chain.report(2, 1, 0.55)  # better than trial 1 was there, though 1 has gone on to less
    assert chain.is_at(2)


def test_a_point_that_turns_out_worse_at_a_higher_rung_gives_way_to_the_best_there() -> None:
    chain = chain_of(2, **COLD, rungs=[1, 3])
    chain.report(0, 1, 0.5)
    chain.report(1, 1, 0.4)
    chain.promote(0)
    chain.report(0, 3, 0.2)
    assert chain.is_at(1)
    chain.promote(1)
    chain.report(1, 3, 0.3)
    assert chain.is_at(0)


def test_a_point_that_diverges_gives_way_and_one_that_diverged_is_never_accepted() -> None:
    chain = chain_of(4, **HOT, rungs=[1, 3])
    chain.end(3, Status.DIVERGED)
    chain.report(0, 1, 0.5)
    chain.report(1, 1, 0.6)
    assert chain.is_at(1)
    chain.end(2, Status.DIVERGED)
    assert chain.is_at(1)
    chain.promote(1)
    chain.end(1, Status.DIVERGED)
    assert chain.is_at(0)


def test_a_crash_teaches_nothing() -> None:
    chain = chain_of(2, **HOT)
    chain.complete(0, 0.5)
    chain.end(1, Status.FAILED)
    assert chain.is_at(0)


def test_a_temperature_that_has_reached_zero_is_no_error() -> None:
    chain = chain_of(6, initial_temperature=1e-300, cooling=1e-300)
    for trial in range(6):
        chain.complete(trial, trial)
        chain.ask()
    assert chain.ask()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"initial_temperature": 0}, "initial_temperature is 0; it must be above 0"),
        ({"cooling": 1.5}, "cooling is 1.5; it must be above 0 and at most 1"),
        ({"cooling": 0.0}, "cooling is 0.0; it must be above 0 and at most 1"),
        ({"step": 0.0}, "step is 0.0; it must be above 0 and at most 1"),
        ({"temperature": 1.0}, "temperature is not an option of annealing; it takes initial_temp"),
    ],
)
def test_an_option_that_is_out_of_bounds_is_refused(
    options: dict[str, float], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        Chain(**options)
