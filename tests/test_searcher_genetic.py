from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import optuna
import pytest
from optuna.samplers import NSGAIISampler
from optuna.study import StudyDirection

from sweeps.errors import ConfigError
from sweeps.journal.events import Created, Ended, Known
from sweeps.journal.objective import Objective
from sweeps.journal.status import Status
from sweeps.searchers import View, make_searcher, seed_of
from sweeps.simulate import Setup, Simulated, simulate
from sweeps.space.space import parse_space

SPACE, _ = parse_space(
    {"x": "interval(0, 1)", "y": "interval(0, 1)", "n": "int(interval(1, 9))", "net": "a, b, c"}, []
)


def loss(values: Mapping[str, Any]) -> float:
    numbers = (values["x"] - 0.3) ** 2 + (values["y"] - 0.6) ** 2 + 0.05 * values["n"]
    return float(numbers + 0.5 * (values["net"] != "c"))


def sweep(asks: int, *, sign: float = 1.0, **fields: Any) -> Simulated:
    def curve(values: Mapping[str, Any], trial: int) -> Iterable[tuple[dict[str, float], float]]:
        for step in range(1, 10):
            yield {"objective": sign * (loss(values) + 1 / step)}, 1.0 + values["x"]

    searcher = {"name": "genetic", **fields.pop("options", {})}
    history = fields.pop("history", ())
    setup = Setup(space=SPACE, num_samples=asks, searcher=searcher, **fields)
    return simulate(curve, setup, history=history)


def losses(result: Simulated) -> list[float]:
    return [loss(SPACE.values(ask.params)) for ask in result.asks]


@pytest.mark.parametrize("mode", ["min", "max"])
@pytest.mark.parametrize("scheduler", [{"name": "none"}, {"name": "asha", "max_t": 9}])
def test_later_generations_are_better(scheduler: Any, mode: Any) -> None:
    sign = 1.0 if mode == "min" else -1.0
    result = sweep(
        160, workers=4, scheduler=scheduler, objective=Objective(mode=mode), sign=sign, seed=1
    )
    found = losses(result)
    assert sum(found[-40:]) < 0.6 * sum(found[:40])


@pytest.mark.parametrize("crossover", ["blxalpha", "sbx", "spx", "undx", "vsbx"])
def test_every_crossover_draws_from_the_space(crossover: str) -> None:
    for ask in sweep(24, options={"crossover": crossover, "population_size": 6}).asks:
        values = SPACE.values(ask.params)
        assert SPACE.values(SPACE.optuna_params(values)) == values


def test_with_several_objectives_it_proposes_what_raw_optuna_would() -> None:
    directions = [StudyDirection.MINIMIZE, StudyDirection.MAXIMIZE]

    def both(params: Mapping[str, Any]) -> list[float]:
        return [params["x"] + 0.1 * params["n"], params["x"] - params["y"]]

    view = View(Objective())
    view.directions = directions
    view.study = optuna.load_study(study_name="sweep", storage=view)  # it read them when made
    searcher = make_searcher("genetic", space=SPACE, view=view, seed=0, population_size=6)
    raw = optuna.create_study(directions=directions)
    for number in range(40):
        params = searcher.ask(number)
        raw.sampler = NSGAIISampler(seed=seed_of(0, number), population_size=6)
        trial = raw.ask(SPACE.distributions())
        assert params == trial.params
        raw.tell(trial, both(trial.params))
        event: dict[str, Any] = {"metrics": {}, "error": None, "cause": None, "time": 1.0}
        view.apply(Ended(trial=number, status=Status.COMPLETE, value=0.0, **event))
        view._replace(number, values=both(params))


def generations(result: Simulated) -> list[int]:
    notes = [ask.notes for ask in result.asks]
    return [note.trial["NSGAIISampler:generation"] for note in notes if note is not None]


def parents(result: Simulated) -> dict[str, list[int]]:
    study = [note.study for ask in result.asks if (note := ask.notes) is not None]
    return {key: numbers for notes in study for key, numbers in notes.items()}


def test_points_to_begin_with_belong_to_the_first_generation() -> None:
    best = {"x": 0.3, "y": 0.6, "n": 1, "net": "c"}
    given = {"initial": [best], "options": {"population_size": 4}}
    result = sweep(24, **given)
    assert SPACE.values(result.asks[0].params) == best
    assert generations(result)[:5] == [0, 0, 0, 0, 1]
    assert all(0 in numbers for numbers in parents(result).values())
    assert losses(result)[0] == min(losses(result))
    again = sweep(24, **given, history=result.events[:30])
    assert [ask.params for ask in again.asks] == [ask.params for ask in result.asks]


@pytest.mark.parametrize("count", [2, 12])
def test_trials_of_earlier_sweeps_belong_to_the_first_generation(count: int) -> None:
    rows = [
        {
            "params": {"x": 0.3, "y": 0.6, "n": 1 + number % 9, "net": "c"},
            "status": "complete",
            "values": [float(number)],
            "reports": [],
        }
        for number in range(count)
    ]
    view = View(Objective())
    searcher = make_searcher("genetic", space=SPACE, view=view, seed=0, population_size=4)
    view.apply(Created(name="s", modes=("min",), space=SPACE.to_json(), time=0.0))
    view.apply(Known(trials=rows, time=0.0))
    for number in range(5):
        searcher.ask(number)
        view._asked.append((0, {}))
        ended: dict[str, Any] = {"metrics": {}, "error": None, "cause": None, "time": 1.0}
        view.apply(Ended(trial=number, status=Status.COMPLETE, value=50.0, **ended))
    born = [t.system_attrs["NSGAIISampler:generation"] for t in view._trials]
    assert born == ([0, 0, 1, 1, 1] if count == 2 else [1, 1, 1, 1, 2])
    first = view.get_study_system_attrs(0)["NSGAIISampler:parent:1"]
    assert set(first) >= set(range(-count, min(0, 4 - count)))
    assert len({view.get_trial(number).number for number in first}) == 4


def test_bad_input_is_answered_with_the_rule() -> None:
    for options, message in [
        ({"crossover": "sbxx"}, "'sbxx'; choose from uniform, blxalpha, sbx, .* did you mean sbx"),
        ({"population_size": 1}, "population_size is 1; it must be 2 or more"),
        ({"mutation_prob": 2.0}, "mutation_prob is 2.0; it must be between 0 and 1"),
    ]:
        with pytest.raises(ConfigError, match=message):
            sweep(1, options=options)
