from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pytest

from sweeps.errors import ConfigError
from sweeps.journal.events import Ended, Event
from sweeps.journal.objective import Objective
from sweeps.searchers import View, make_searcher
from sweeps.simulate import Setup, Simulated, simulate
from sweeps.space.scale import to_unit
from sweeps.space.space import Space, parse_space

SPACE, _ = parse_space(
    {
        "lr": "tag(log, interval(1e-4, 1))",
        "x": "interval(0, 1)",
        "n": "int(interval(1, 40))",
        "net": "a, b, c, d, e, f",
    },
    [],
)
EDGE, _ = parse_space({"x": "interval(0, 1)", "lr": "tag(log, interval(1e-4, 1))"}, [])


def loss(values: Mapping[str, Any]) -> float:
    near = ((math.log10(values["lr"]) + 2.7) / 4) ** 2 + (values["x"] - 0.3) ** 2
    return near + ((values["n"] - 12) / 40) ** 2 + 0.1 * "cadbef".index(values["net"])


def sweep(
    num_samples: int = 30,
    seed: int = 0,
    *,
    name: str = "coarse_to_fine",
    space: Space = SPACE,
    loss: Any = loss,
    history: Iterable[Event] = (),
    options: Mapping[str, Any] = {},
    **fields: Any,
) -> Simulated:
    def curve(values: Mapping[str, Any], trial: int) -> Iterable[tuple[dict[str, float], float]]:
        for step in range(1, 10):
            yield {"objective": loss(values) + (9 - step) / 30}, 1.0 + trial % 3 / 2

    searcher = {"name": name, **options}
    setup = Setup(space=space, num_samples=num_samples, searcher=searcher, seed=seed, **fields)
    return simulate(curve, setup, history=history)


def rounds(result: Simulated) -> list[tuple[int, Mapping[str, Any]]]:
    """Where each round began, and what it noted."""
    return [
        (ask.trial, note)
        for ask in result.asks
        if ask.notes is not None
        for note in ask.notes.trial.values()
    ]


def extents(result: Simulated, first: int, last: int) -> dict[str, tuple[float, float]]:
    """By parameter: the least and the most of trials `first` to `last` in the scaled space."""
    units: dict[str, list[float]] = {}
    for ask in result.asks[first : last + 1]:
        for name, value in ask.params.items():
            units.setdefault(name, []).append(to_unit(ask.distributions[name], value))
    return {name: (min(values), max(values)) for name, values in units.items()}


@pytest.mark.parametrize(
    "fields",
    [{}, {"workers": 8}, {"workers": 4, "scheduler": {"name": "asha", "max_t": 9}}],
    ids=["alone", "8 workers", "asha"],
)
def test_it_comes_closer_than_random_search(fields: dict[str, Any]) -> None:
    def regret(name: str, seed: int) -> float:
        trials = sweep(60, seed, name=name, **fields).trials
        return min(loss(SPACE.values(trial.params)) for trial in trials)

    zoomed = np.mean([regret("coarse_to_fine", seed) for seed in range(6)])
    assert zoomed < 0.6 * np.mean([regret("random", seed) for seed in range(6)])


def test_the_first_round_is_random_search_and_each_further_one_a_smaller_box() -> None:
    result = sweep(90, options={"rounds": 3, "shrink": 0.5})
    assert [(trial, note["length"]) for trial, note in rounds(result)] == [
        (0, 30),
        (30, 30),
        (60, 30),
    ]
    for first, side in ((0, 1.0), (30, 0.5), (60, 0.25)):
        for name, (low, high) in extents(result, first, first + 29).items():
            assert 0 <= low <= high <= 1
            if name != "net":
                within = high - low
                assert 0.75 * side < within <= side + (1 / 40 if name == "n" else 1e-9)


def test_a_box_lies_around_the_best_and_a_choice_keeps_what_the_best_have() -> None:
    result = sweep(60, options={"rounds": 2, "top": 2})
    (_, begun), (start, note) = rounds(result)
    assert begun["around"] == []
    ranked = sorted(range(start), key=lambda n: loss(SPACE.values(result.asks[n].params)))
    assert note["around"] == ranked[:2]
    best = result.asks[ranked[0]].params
    low, high = extents(result, start, 59)["x"]
    assert low >= best["x"] - 0.25 - 1e-9
    assert high <= best["x"] + 0.25 + 1e-9
    kept = {result.asks[n].params["net"] for n in ranked[:2]}
    assert {ask.params["net"] for ask in result.asks[start:]} == kept


@pytest.mark.parametrize("best_at", [0.0, 1.0])
def test_a_box_at_a_bound_is_shifted_inside_and_keeps_its_size(best_at: float) -> None:
    result = sweep(
        400,
        space=EDGE,
        loss=lambda values: (
            abs(values["x"] - best_at) + abs(4 * best_at + math.log10(values["lr"]))
        ),
        options={"rounds": 2, "shrink": 0.4},
    )
    low, high = extents(result, 200, 399)["x"]
    assert low >= 0
    assert high <= 1
    assert high - low > 0.38
    assert abs((high if best_at else low) - best_at) < 0.02


def test_the_scaled_space_is_what_shrinks() -> None:
    result = sweep(
        200,
        space=EDGE,
        loss=lambda values: abs(math.log10(values["lr"]) + 2),
        options={"rounds": 2, "shrink": 0.5},
    )
    rates = [ask.params["lr"] for ask in result.asks[100:]]
    assert 9e-4 < min(rates) < 2e-3
    assert 0.05 < max(rates) < 0.11


def test_late_results_do_not_move_a_box_that_is_in_use() -> None:
    def far(values: Mapping[str, Any]) -> float:
        return abs(values["x"] - 0.5) + abs(math.log10(values["lr"]) + 2)

    result = sweep(60, workers=8, space=EDGE, loss=far, options={"rounds": 2})
    (_, _), (start, note) = rounds(result)
    before = result.events[: result.events.index(result.asks[start])]
    assert set(note["around"]) <= {event.trial for event in before if isinstance(event, Ended)}
    best = result.asks[note["around"][0]].params
    assert min(far(ask.params) for ask in result.asks[start:50]) < far(best)
    low, high = extents(result, start, 59)["x"]
    assert best["x"] - 0.25 - 1e-9 <= low
    assert high <= best["x"] + 0.25 + 1e-9


def test_a_round_waits_until_half_of_the_last_one_has_results() -> None:
    result = sweep(30, workers=12, options={"rounds": 3})
    (_, first), (start, _), *_ = rounds(result)
    assert first["length"] == 10
    assert start > 10
    assert rounds(sweep(30, workers=30)) == [(0, {"round": 0, "length": 10, "around": []})]


def test_rounds_that_were_begun_stay_as_they_were_when_the_sweep_is_extended() -> None:
    short = sweep(30, options={"rounds": 3})
    cut = short.events.index(short.asks[12])
    for history, expected in (
        (short.events[: cut + 1], [(0, 10), (10, 10), (20, 40)]),
        (short.events[:-1], [(0, 10), (10, 10), (20, 10), (30, 30)]),
    ):
        extended = sweep(60, history=list(history), options={"rounds": 3})
        assert [(trial, note["length"]) for trial, note in rounds(extended)] == expected
        asks = [ask.params for ask in extended.asks]
        assert asks[:13] == [ask.params for ask in short.asks[:13]]
        assert len(asks) == 60


def test_a_round_past_the_last_zooms_on() -> None:
    short = sweep(60, options={"rounds": 2})
    extended = sweep(120, history=short.events[:-1], options={"rounds": 2})
    low, high = extents(extended, 60, 119)["x"]
    assert 0.15 < high - low <= 0.25 + 1e-9


def test_a_sweep_without_a_number_of_trials_has_the_default() -> None:
    view = View(Objective())
    searcher = make_searcher("coarse_to_fine", space=SPACE, view=view, seed=0, rounds=2)
    searcher.ask(0)
    notes = view.take_notes()
    assert notes is not None
    assert [note["length"] for note in notes.trial.values()] == [10]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rounds": 0}, "rounds is 0; it must be 1 or more"),
        ({"top": 0}, "top is 0; it must be 1 or more"),
        ({"shrink": 1.0}, "shrink is 1.0; it must be between 0 and 1"),
        ({"shrnk": 0.5}, "shrnk is not an option of coarse_to_fine; it takes rounds, shrink, top"),
    ],
)
def test_an_option_that_is_out_of_bounds_is_refused(
    options: dict[str, float], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        sweep(options=options)
