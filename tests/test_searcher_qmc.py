from __future__ import annotations

from typing import Any

import numpy as np
import optuna
import pytest
from optuna.samplers import QMCSampler

from sweeps.errors import ConfigError
from sweeps.journal.objective import Objective
from sweeps.searchers import Searcher, View, make_searcher, seed_of
from sweeps.space.space import parse_space

SPACE, _ = parse_space(
    {
        "lr": "tag(log, interval(1e-4, 1))",
        "x": "interval(-1, 1)",
        "n": "int(interval(1, 9))",
        "net": "a, b, c",
    },
    [],
)


def qmc(space: Any = SPACE, seed: int = 0, **options: Any) -> Searcher:
    return make_searcher("qmc", space=space, view=View(Objective()), seed=seed, **options)


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
@pytest.mark.parametrize("options", [{}, {"scramble": False}, {"qmc_type": "halton"}])
def test_the_nth_trial_has_the_nth_point_that_optunas_sampler_draws(
    options: dict[str, Any],
) -> None:
    searcher, study = qmc(seed=3, **options), optuna.create_study()
    study.sampler = QMCSampler(**{"scramble": True, **options}, seed=seed_of(3))
    study.tell(study.ask(SPACE.distributions()), 0.0)  # Optuna draws its first one at random
    for number in range(25):
        ours, raw = searcher.ask(number), study.ask(SPACE.distributions()).params
        assert [ours["n"], ours["net"]] == [raw["n"], raw["net"]]
        assert [ours["lr"], ours["x"]] == pytest.approx([raw["lr"], raw["x"]], rel=1e-12)


def test_a_trials_point_does_not_depend_on_what_was_asked_before() -> None:
    in_order = qmc()
    points = [in_order.ask(number) for number in range(20)]
    anew = qmc()
    for number in (13, 2, 19, 2, 0):
        assert anew.ask(number) == points[number]
    assert qmc(seed=1).ask(3) != points[3]


@pytest.mark.parametrize("qmc_type", ["sobol", "halton"])
def test_points_lie_more_evenly_than_random_ones(qmc_type: str) -> None:
    square, _ = parse_space({"x": "interval(0, 1)", "y": "interval(0, 1)"}, [])
    searcher = qmc(square, qmc_type=qmc_type)
    params = [searcher.ask(number) for number in range(64)]
    cells = {(int(p["x"] * 8), int(p["y"] * 8)) for p in params}
    rng = np.random.default_rng(0)
    at_random = {tuple((rng.random(2) * 8).astype(int)) for _ in range(64)}
    assert len(cells) > len(at_random)
    if qmc_type == "sobol":
        assert len(cells) == 64


def test_a_redraw_is_another_configuration_and_the_same_each_time() -> None:
    searcher = qmc()
    first, *again = (searcher.ask(5, attempt) for attempt in range(4))
    assert len({repr(params) for params in (first, *again)}) == 4
    assert [qmc().ask(5, attempt) for attempt in range(1, 4)] == again
    assert searcher.ask(6) == qmc().ask(6)


def test_an_unknown_sequence_is_answered_with_the_choices() -> None:
    with pytest.raises(ConfigError, match=r"'sobl'; choose from sobol, halton; did you mean sobol"):
        qmc(qmc_type="sobl")
