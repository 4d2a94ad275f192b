from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import optuna
import pytest
from optuna.samplers import NSGAIISampler
from optuna.study import StudyDirection

from sweeps.errors import ConfigError
from sweeps.events import Ended
from sweeps.objective import Objective
from sweeps.searchers import View, make_searcher, seed_of
from sweeps.simulate import Setup, Simulated, simulate
from sweeps.space import parse_space
from sweeps.status import Status

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
    return simulate(curve, Setup(space=SPACE, num_samples=asks, searcher=searcher, **fields))


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


def test_bad_input_is_answered_with_the_rule() -> None:
    for options, message in [
        ({"crossover": "sbxx"}, "'sbxx'; choose from uniform, blxalpha, sbx, .* did you mean sbx"),
        ({"population_size": 1}, "population_size is 1; it must be 2 or more"),
        ({"mutation_prob": 2.0}, "mutation_prob is 2.0; it must be between 0 and 1"),
    ]:
        with pytest.raises(ConfigError, match=message):
            sweep(1, options=options)
