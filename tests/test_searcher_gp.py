from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import optuna
import pytest
from optuna.samplers import GPSampler

from sweeps.errors import ConfigError
from sweeps.journal.events import Asked, Ended
from sweeps.journal.objective import Objective
from sweeps.journal.status import Status
from sweeps.searchers import View, make_searcher, seed_of
from sweeps.simulate import Setup, simulate
from sweeps.space.space import Space, parse_space

LINE, _ = parse_space({"x": "interval(0, 1)"}, [])
MIXED, _ = parse_space({"x": "interval(0, 1)", "n": "int(interval(1, 9))", "net": "a, b, c"}, [])


def loss(values: Mapping[str, Any]) -> float:
    return (values["x"] - 0.3) ** 2 + 0.1 * (values.get("net") != "c") + 0.01 * values.get("n", 0)


def one_step(values: Mapping[str, Any], trial: int) -> Iterable[tuple[dict[str, float], float]]:
    yield {"objective": loss(values)}, 1.0


def raw_optuna(space: Space, asks: int, **options: Any) -> list[Any]:
    """What Optuna itself proposes with its sampler made anew for each ask."""
    study = optuna.create_study()
    params = []
    for number in range(asks):
        study.sampler = GPSampler(seed=seed_of(0, number), **options)
        trial = study.ask(space.distributions())
        params.append(trial.params)
        study.tell(trial, loss(space.values(trial.params)))
    return params


@pytest.mark.parametrize(
    ("space", "startup"), [(LINE, 22), pytest.param(MIXED, 10, marks=pytest.mark.slow)]
)
def test_it_proposes_what_raw_optuna_would_and_closes_in(space: Space, startup: int) -> None:
    searcher = {"name": "gp", "n_startup_trials": startup}
    made = simulate(one_step, Setup(space=space, num_samples=26, searcher=searcher)).asks
    assert [dict(ask.params) for ask in made] == raw_optuna(space, 26, n_startup_trials=startup)
    losses = [loss(space.values(ask.params)) for ask in made]
    assert max(losses[-3:]) < sorted(losses[:startup])[2]


def over(*known: tuple[float, float], running: float | None = None, **options: Any) -> float:
    """What is proposed on a line where these (x, loss) are known and x `running` is not yet."""
    view = View(Objective())
    searcher = make_searcher("gp", space=LINE, view=view, seed=0, n_startup_trials=2, **options)
    xs = [x for x, _ in known] + ([] if running is None else [running])
    for number, x in enumerate(xs):
        distributions = LINE.distributions()
        view.apply(
            Asked(trial=number, run=1, params={"x": x}, distributions=distributions, time=0.0)
        )
    for number, (_, value) in enumerate(known):
        status: dict[str, Any] = {"status": Status.COMPLETE, "error": None, "cause": None}
        view.apply(Ended(trial=number, value=value, metrics={}, time=1.0, **status))
    x = searcher.ask(len(xs))["x"]
    assert isinstance(x, float)
    return x


BOWL = [(x, (x - 0.4) ** 2) for x in (0.0, 0.1, 0.2, 0.3, 0.5)]


def test_the_upper_confidence_bound_exploits_or_explores_by_its_beta() -> None:
    assert abs(over(*BOWL, acquisition="ucb", ucb_beta=0.0) - 0.4) < 0.1
    assert over(*BOWL, acquisition="ucb", ucb_beta=1e6) > 0.9


@pytest.mark.parametrize("acquisition", ["logei", "ucb"])
def test_every_acquisition_looks_away_from_where_a_trial_runs(acquisition: str) -> None:
    best = over(*BOWL, acquisition=acquisition)
    assert abs(over(*BOWL, running=best, acquisition=acquisition) - best) > 1e-3


def test_bad_input_is_answered_with_the_rule() -> None:
    with pytest.raises(ConfigError, match="'logie'; choose from logei, ucb; did you mean"):
        over(acquisition="logie")
    with pytest.raises(ConfigError, match="ucb_beta is -1; it must be 0 or more"):
        over(ucb_beta=-1)
