from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import pytest

from sweeps.errors import ConfigError
from sweeps.journal.events import Asked, Created, Ended, Event, Known
from sweeps.journal.objective import Objective
from sweeps.journal.status import Status
from sweeps.searchers import Searcher, View, make_searcher
from sweeps.simulate import Setup, Simulated, simulate
from sweeps.space.space import Space, parse_space

NUMBERS, _ = parse_space({"x": "interval(0, 1)", "lr": "tag(log, interval(1e-4, 1))"}, [])
MIXED, _ = parse_space(
    {
        "lr": "tag(log, interval(1e-4, 1))",
        "width": "int(tag(log, interval(16, 4096)))",
        "depth": "int(interval(1, 9))",
        "drop": "range(0., 0.6, 0.1)",
        "net": "a, b, c",
        "norm": "true, false",
        "epochs": "choice(5)",
    },
    [],
)


def loss(values: Mapping[str, Any]) -> float:
    return (
        0.3 * (math.log10(values["lr"]) + 2.5) ** 2
        + 0.3 * math.log2(values["width"] / 256) ** 2
        + 0.1 * (values["depth"] - 6) ** 2
        + 4 * (values["drop"] - 0.2) ** 2
        + (values["net"] != "b")
        + 0.5 * (not values["norm"])
    )


def sweep(asks: int, *, space: Space = MIXED, sign: float = 1.0, **fields: Any) -> Simulated:
    def curve(values: Mapping[str, Any], trial: int) -> Iterable[tuple[dict[str, float], float]]:
        for step in range(1, 10):
            yield {"objective": sign * (loss(values) + 1 / step)}, 1.0

    given = {"searcher": {"name": "cmaes"}, **fields}
    return simulate(curve, Setup(space=space, num_samples=asks, **given))


def mean(losses: list[float]) -> float:
    return sum(losses) / len(losses)


@pytest.mark.parametrize("mode", ["min", "max"])
@pytest.mark.parametrize("scheduler", [{"name": "none"}, {"name": "asha", "max_t": 9}])
def test_it_finds_the_good_region_of_a_mixed_space(scheduler: Any, mode: Any) -> None:
    result = sweep(
        160,
        workers=4,
        scheduler=scheduler,
        sign=1.0 if mode == "min" else -1.0,
        objective=Objective(mode=mode),
    )
    losses = [loss(MIXED.values(ask.params)) for ask in result.asks]
    assert mean(losses[-40:]) < 0.2 * mean(losses[:20])


def test_every_parameter_is_drawn_in_its_domain() -> None:
    for ask in sweep(60, workers=2).asks:
        values = MIXED.values(ask.params)
        assert MIXED.values(MIXED.optuna_params(values)) == values
        assert ask.params["epochs"] == 5
        assert [type(v) for v in ask.params.values()] == [float, int, int, float, str, bool, int]


def told(result: Simulated) -> dict[int, list[int]]:
    """The trials that each generation was told, by the trial whose ask did it."""
    return {
        ask.trial: numbers
        for ask in result.asks
        if ask.notes is not None
        for key, numbers in ask.notes.study.items()
        if key.startswith("cmaes:told:")
    }


def test_one_at_a_time_a_generation_is_told_the_trials_drawn_from_it_best_first() -> None:
    result = sweep(13, searcher={"name": "cmaes", "population_size": 6})
    generations = told(result)
    assert list(generations) == [6, 12]
    for first, numbers in ((0, generations[6]), (6, generations[12])):
        by_loss = sorted(range(first, first + 6), key=lambda n: result.trials[n].value or 0)
        assert numbers == by_loss


def test_what_comes_late_is_passed_over() -> None:
    result = sweep(40, workers=4, searcher={"name": "cmaes", "population_size": 6})
    numbers = [n for generation in told(result).values() for n in generation]
    assert len(set(numbers)) == len(numbers)
    assert len(numbers) % 6 == 0
    assert len(numbers) < 40 - 6 - 4  # neither of the last generation nor in flight


def begin(**options: Any) -> tuple[View, Searcher]:
    view = View(Objective())
    options.setdefault("space", NUMBERS)
    return view, make_searcher("cmaes", view=view, seed=0, **options)


def ask(view: View, searcher: Searcher, number: int, attempt: int = 0) -> None:
    view.apply(
        Asked(
            trial=number,
            run=1,
            params=searcher.ask(number, attempt),
            distributions=NUMBERS.distributions(),
            notes=view.take_notes(),
            time=0.0,
        )
    )


def end(view: View, number: int, status: Status, value: float | None = None) -> None:
    event = {"metrics": {}, "error": None, "cause": None, "time": 1.0}
    view.apply(Ended(trial=number, status=status, value=value, **event))  # type: ignore[arg-type]


def test_a_diverged_trial_is_told_last_and_a_crash_not_at_all() -> None:
    view, searcher = begin(population_size=4)
    for number in range(5):
        ask(view, searcher, number)
    end(view, 0, Status.DIVERGED)
    end(view, 1, Status.FAILED)
    for number, value in ((2, 3.0), (3, 1.0), (4, 2.0)):
        end(view, number, Status.COMPLETE, value)
    ask(view, searcher, 5)
    assert view.get_study_system_attrs(0) == {"cmaes:told:0": [3, 4, 2, 0]}


def test_a_redraw_keeps_what_was_told_and_draws_anew() -> None:
    view, searcher = begin(population_size=4)
    for number in range(4):
        ask(view, searcher, number)
        end(view, number, Status.COMPLETE, float(number))
    refused = searcher.ask(4)
    view.retract()
    assert searcher.ask(4, 1) != refused
    notes = view.take_notes()
    assert notes is not None
    assert notes.study == {"cmaes:told:0": [0, 1, 2, 3]}
    assert notes.trial["cmaes:born"][0] == 1


def test_bad_input_is_answered_with_the_rule() -> None:
    with pytest.raises(ConfigError, match="population_size is 2; it must be 4 or more"):
        begin(population_size=2)
    with pytest.raises(ConfigError, match="there is nothing to search"):
        begin(space=parse_space({"x": "choice(1)"}, [])[0])


def known(space: Space, count: int, *, best: float) -> Known:
    """Trials of an earlier sweep over all of lr, which were the better the nearer lr was to it."""
    view = View(Objective())
    searcher = make_searcher("random", space=space, view=view, seed=7)
    rows = []
    for number in range(count):
        values = space.values(searcher.ask(number))
        away = abs(math.log10(values["lr"] / best)) + abs(values.get("x", 0.9) - 0.9)
        away += values.get("net", "b") != "b"
        rows.append({"params": values, "status": "complete", "values": [away], "reports": []})
    return Known(trials=rows, time=0.0)


def created(space: Space) -> Created:
    return Created(name="s", modes=("min",), space=space.to_json(), time=0.0)


@pytest.mark.parametrize("space", [NUMBERS, MIXED])
def test_trials_of_earlier_sweeps_give_the_first_distribution(space: Space) -> None:
    def first(*events: Event) -> list[Mapping[str, Any]]:
        view, searcher = begin(space=space)
        for event in (created(space), *events):
            view.apply(event)
        return [space.values(searcher.ask(number)) for number in range(20)]

    cold, warm = first(), first(known(space, 60, best=2e-4))
    near = [abs(math.log10(values["lr"] / 2e-4)) for values in warm]
    assert sorted(near)[10] < 0.8 < sorted(abs(math.log10(v["lr"] / 2e-4)) for v in cold)[10]
    if space is MIXED:
        assert [v["net"] for v in warm].count("b") > [v["net"] for v in cold].count("b")


def test_earlier_trials_that_lack_a_parameter_give_none() -> None:
    view, searcher = begin()
    partly = known(NUMBERS, 20, best=2e-4)
    rows = [{**row, "params": {"lr": row["params"]["lr"]}} for row in partly.trials]
    for event in (created(NUMBERS), Known(trials=rows, time=0.0)):
        view.apply(event)
    cold_view, cold = begin()
    cold_view.apply(created(NUMBERS))
    assert searcher.ask(0) == cold.ask(0)


@pytest.mark.parametrize("space", [NUMBERS, MIXED])
def test_points_to_begin_with_are_told_as_they_are(space: Space) -> None:
    """The best of all far away draws the distribution there; the seed's own draws do not."""
    point = {"lr": 1e-4} if space is NUMBERS else {"lr": 1e-4, "net": "a", "width": 4096}

    def told_of(initial: list[dict[str, Any]]) -> tuple[dict[int, list[int]], list[float]]:
        def curve(values: Mapping[str, Any], trial: int) -> Iterable[Any]:
            yield {"objective": abs(math.log10(values["lr"]) + 4)}, 1.0

        searcher = {"name": "cmaes", "population_size": 4}
        setup = Setup(space=space, num_samples=12, searcher=searcher, initial=initial)
        result = simulate(curve, setup)
        return told(result), [math.log10(space.values(a.params)["lr"]) for a in result.asks]

    generations, with_points = told_of([point] * 2)
    assert sorted(generations[4]) == [0, 1, 2, 3]
    assert set(generations[4][:2]) == {0, 1}
    _, without = told_of([])
    assert mean(with_points[4:]) < mean(without[4:])
