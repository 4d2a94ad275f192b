"""Searchers over a space in which a parameter exists only where another has some value."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import optuna
import pytest
from optuna.samplers import TPESampler

from sweeps.searchers import seed_of
from sweeps.simulate import Setup, Simulated, simulate
from sweeps.space.space import parse_space

SPACE, _ = parse_space(
    {
        "net": "mlp, convnet",
        "lr": "tag(log, interval(1e-4, 1))",
        "depth": "int(interval(1, 6))",
        "width": "int(interval(8, 64))",
        "channels": "int(interval(1, 32))",
    },
    [],
    when={"depth": {"net": "mlp"}, "width": {"net": "mlp"}, "channels": {"net": "convnet"}},
)


def loss(values: Mapping[str, Any]) -> float:
    of_lr = abs(math.log10(values["lr"]) + 2)
    if values["net"] == "convnet":
        return of_lr + abs(values["channels"] - 24) / 24
    return of_lr + 1 + 0.1 * values["depth"] + values["width"] / 64


def curve(values: Mapping[str, Any], trial: int) -> Iterable[tuple[dict[str, float], float]]:
    for step in range(1, 10):
        yield {"objective": loss(values) + 1 / step}, 1.0 + values["lr"]


def setup(searcher: Mapping[str, Any], samples: int, **fields: Any) -> Setup:
    return Setup(space=SPACE, num_samples=samples, searcher=searcher, **fields)


def run(name: str, samples: int = 40, **fields: Any) -> Simulated:
    return simulate(curve, setup({"name": name}, samples, workers=3, **fields))


@pytest.mark.parametrize("name", ["random", "qmc", "tpe", "bohb", "cmaes", "genetic"])
def test_a_parameter_is_drawn_only_where_it_exists_and_a_cut_sweep_goes_on_the_same(
    name: str,
) -> None:
    unbroken = run(name, scheduler={"name": "asha", "max_t": 9})
    params = [ask.params for ask in unbroken.asks]
    for drawn in params:
        extra = ["channels"] if drawn["net"] == "convnet" else ["depth", "width"]
        assert list(drawn) == ["net", "lr", *extra]
    for kept in range(20, len(unbroken.events), 30):
        again = simulate(
            curve,
            setup({"name": name}, 40, workers=3, scheduler={"name": "asha", "max_t": 9}),
            history=unbroken.events[:kept],
        )
        assert [ask.params for ask in again.asks] == params, kept


@pytest.mark.parametrize("name", ["tpe", "cmaes"])
def test_it_finds_the_good_branch(name: str) -> None:
    late = [ask.params for ask in run(name, 80).asks[50:]]
    assert sum(drawn["net"] == "convnet" for drawn in late) > 20


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_tpe_models_what_exists_together_as_raw_optuna_does() -> None:
    study, distributions = optuna.create_study(), SPACE.distributions()
    setup_one = setup({"name": "tpe"}, 30)
    for number, ask in enumerate(simulate(at_once, setup_one).asks):
        study.sampler = TPESampler(seed=seed_of(0, number), multivariate=True, group=True)
        trial = study.ask()
        for name in ("net", "lr"):
            trial._suggest(name, distributions[name])
        rest = ["channels"] if trial.params["net"] == "convnet" else ["depth", "width"]
        for name in rest:
            trial._suggest(name, distributions[name])
        assert trial.params == ask.params
        study.tell(trial, loss(SPACE.values(trial.params)))


def at_once(values: Mapping[str, Any], trial: int) -> Iterable[tuple[dict[str, float], float]]:
    yield {"objective": loss(values)}, 1.0
