"""Budgets and stoppers: what ends a sweep before all its trials are done."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

import pytest

from sweeps.core.budget import Budget, override_for_more
from sweeps.errors import ConfigError, SweepError
from sweeps.journal.objective import Objective
from sweeps.simulate import Setup, Simulated, simulate
from sweeps.space.space import parse_space

SPACE, _ = parse_space({"x": "interval(0, 1)"}, [])


def curve(values: Mapping[str, Any], trial: int) -> Iterable[tuple[dict[str, float], float]]:
    for step in range(1, 4):
        yield {"acc": 1 - (trial - 5) ** 2 / 100, "dollars": 0.5 * step}, 1.0


def run(workers: int = 1, history: Iterable[Any] = (), **budget: Any) -> Simulated:
    setup = Setup(
        space=SPACE,
        num_samples=20,
        objective=Objective(metric="acc", mode="max"),
        searcher={"name": "random"},
        budget=Budget(**budget),
        workers=workers,
    )
    return simulate(curve, setup, history=history)


def test_a_sweep_ends_when_its_steps_are_spent() -> None:
    done = run(total_steps=10)
    assert done.trials.steps == 10
    assert done.trials.closed.reason == "hydra.sweeper.total_steps, 10, are spent"


def test_a_sweep_ends_when_its_cost_is_spent_which_a_trial_reports_as_a_running_sum() -> None:
    done = run(cost_metric="dollars", cost=4.0)
    assert len(done.trials) == 3  # 1.5 dollars each
    assert done.trials.steps == 8
    assert done.trials.closed.reason == "hydra.sweeper.cost.budget, 4 in dollars, is spent"


def test_where_a_trial_is_repeated_each_repeat_takes_steps_and_costs() -> None:
    assert run(total_steps=12, repeats=3).trials.steps == 4
    done = run(cost_metric="dollars", cost=4.5, repeats=3)
    assert (len(done.trials), done.trials.steps) == (1, 3)


def test_a_cost_that_no_trial_gives_ends_the_sweep_at_the_first_that_is_judged() -> None:
    with pytest.raises(SweepError, match=r"cost.metric is 'dolars', .* did you mean dollars"):
        run(cost_metric="dolars", cost=4.0)


def test_a_sweep_ends_when_the_target_is_reached() -> None:
    done = run(target=0.95)
    assert done.trials.best.number == 3
    assert done.trials.steps == 10


def test_a_sweep_ends_when_trials_in_a_row_do_not_improve() -> None:
    done = run(patience=4)
    assert done.trials.best.number == 5
    assert len(done.trials) == 10
    assert "4 trials in a row have not improved the best" in done.trials.closed.reason


def test_an_improvement_within_the_tolerance_counts_as_none() -> None:
    done = run(patience=2, tolerance=0.045)  # trials 4 and 5 improve by 0.03 and 0.01 on trial 3
    assert done.trials.best.number == 5
    assert len(done.trials) == 6
    assert run(patience=2, tolerance=0.02).trials.best.number == 5


@pytest.mark.parametrize("budget", [{"total_steps": 10}, {"cost": 4.0, "cost_metric": "dollars"}])
def test_a_resumed_sweep_knows_what_was_spent_and_a_larger_budget_goes_on(
    budget: dict[str, Any],
) -> None:
    done = run(workers=2, **budget)
    again = run(workers=2, history=done.events, **budget)
    assert again.trials.steps == done.trials.steps
    more = {**budget, **{k: 2 * v for k, v in budget.items() if k in ("total_steps", "cost")}}
    longer = run(workers=2, history=done.events, **more)
    assert done.trials.steps < longer.trials.steps <= 2 * done.trials.steps + 2


@pytest.mark.parametrize(
    ("budget", "override"),
    [
        ({"total_steps": 10}, "hydra.sweeper.total_steps=20"),
        ({"cost": 4.5, "cost_metric": "dollars"}, "hydra.sweeper.cost.budget=9.0"),
        ({"target": 0.95}, "hydra.sweeper.stop.target=null"),
        ({"patience": 4}, "hydra.sweeper.stop.patience=8"),
        ({}, None),
    ],
)
def test_why_a_sweep_ended_says_with_what_it_goes_on(
    budget: dict[str, Any], override: str | None
) -> None:
    reason = run(**budget).trials.closed.reason
    assert override_for_more(reason, asdict(Budget(**budget))) == override


def test_a_sweep_whose_time_is_over_goes_on_with_twice_as_much() -> None:
    more = override_for_more("hydra.sweeper.time_budget_s is over", {"time_budget_s": 60.0})
    assert more == "hydra.sweeper.time_budget_s=120.0"


@pytest.mark.slow
@pytest.mark.ray
def test_a_sweep_on_ray_ends_when_the_target_is_reached_and_goes_on_with_a_better_one(
    sweep: Any,
) -> None:
    given = ["+x=interval(-5,5)", "hydra.sweeper.metric=loss", "hydra.sweeper.mode=min"]
    given += ["+epochs=5", "hydra.sweeper.num_samples=30", "hydra.sweeper.seed=1"]
    swept = sweep("curve.py", *given, "hydra.sweeper.stop={target: 4}")
    assert swept.code == 0
    assert swept.trials.best.value <= 4
    assert len(swept.trials) < 30
    steps = swept.trials.steps
    assert "hydra.sweeper.stop.target, 4, is reached" in swept.out
    assert f"caviar resume {swept.folder.path} hydra.sweeper.stop.target=null\n" in swept.out
    again = sweep.caviar("resume", str(swept.folder.path), "hydra.sweeper.stop.target=0.5")
    assert again.code == 0
    assert again.trials.best.value <= 0.5 or len(again.trials) == 30
    assert again.trials.steps > steps


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("hydra.sweeper.total_steps=0", "total_steps is 0; it must be 1 or more"),
        ("hydra.sweeper.stop={targt: 1}", "stop.targt is not an option; .* did you mean target"),
        ("hydra.sweeper.stop={tolerance: 1}", "stop.tolerance needs hydra.sweeper.stop.patience"),
        ("hydra.sweeper.stop={patience: 0}", "stop.patience is 0; it must be 1 or more"),
        ("hydra.sweeper.stop={target: soon}", "stop.target is 'soon'; it must be a number"),
        ("hydra.sweeper.cost={metric: s}", "cost.budget is not set"),
        ("hydra.sweeper.cost={metric: 3, budget: 4}", "cost.metric is 3; it must be a name"),
        ("hydra.sweeper.stop={patience: 2.5}", "stop.patience is 2.5; it must be a whole number"),
        ("hydra.sweeper.seed=-1", "seed is -1; it must be 0 or more"),
        ("hydra.sweeper.resources={cpus: nan}", "resources.cpus is nan; it must be auto"),
        ("hydra.sweeper.cost=3", "cost is 3; it must be a mapping of metric and budget"),
    ],
)
def test_a_wrong_budget_is_answered_with_the_rule(settings: Any, option: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        settings(option)
