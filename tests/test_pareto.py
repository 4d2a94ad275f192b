"""Several objectives: the Pareto front, and which trial is taken from it."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from typing import Any

import optuna
import pytest

from sweeps.errors import ConfigError
from sweeps.journal.file import Journal, read_journal
from sweeps.journal.objective import Objective
from sweeps.journal.pareto import Scalarization, pareto_front
from sweeps.journal.status import Status
from sweeps.journal.trials import Trial
from sweeps.simulate import Setup, Simulated, simulate
from sweeps.space.space import parse_space

SPACE, _ = parse_space({"x": "interval(0, 1)", "y": "interval(0, 1)"}, [])
LATENCY = Objective(metric="latency", mode="min")
BOTH = Objective(metric="acc", mode="max", others=(LATENCY,))


def trials(*values: tuple[float, float], status: Status = Status.COMPLETE) -> list[Trial]:
    return [
        Trial(number=n, params={}, run=1, started=0.0, status=status, value=v[0], values=v)
        for n, v in enumerate(values)
    ]


def numbers(front: Iterable[Trial]) -> list[int]:
    return [trial.number for trial in front]


def test_the_front_is_what_no_other_trial_beats_in_every_objective() -> None:
    made = trials((0.9, 5), (0.8, 3), (0.85, 6), (0.7, 3), (0.6, 1), (0.9, 5))
    assert numbers(pareto_front(made, BOTH)) == [0, 5, 1, 4]


def test_the_front_equals_its_definition_on_random_values() -> None:
    rng = random.Random(0)
    made = trials(*((rng.randrange(9), rng.randrange(9)) for _ in range(200)))

    def beats(a: Trial, b: Trial) -> bool:
        no_worse = a.values[0] >= b.values[0] and a.values[1] <= b.values[1]
        return no_worse and tuple(a.values) != tuple(b.values)

    expected = {b.number for b in made if not any(beats(a, b) for a in made)}
    assert set(numbers(pareto_front(made, BOTH))) == expected


def test_what_was_stopped_counts_with_its_best_report_and_what_went_bad_does_not() -> None:
    assert len(pareto_front(trials((1.0, 1.0), status=Status.STOPPED), BOTH)) == 1
    assert pareto_front(trials((1.0, 1.0), status=Status.DIVERGED), BOTH) == []


def test_a_sweep_in_which_no_trial_was_complete_still_has_a_front() -> None:
    setup = Setup(
        space=SPACE,
        num_samples=5,
        objective=BOTH,
        searcher={"name": "random"},
        scheduler={"name": "asha", "max_t": 27},
    )
    done = simulate(curve, setup).trials
    assert not done.with_status(Status.COMPLETE)
    front = pareto_front(done, BOTH)
    assert front
    assert all(len(trial.values) == 2 for trial in done)


@pytest.mark.parametrize(
    ("scalarization", "chosen"),
    [
        (Scalarization(name="first"), 0),
        (Scalarization(name="chebyshev"), 1),
        (Scalarization(name="chebyshev", weights={"acc": 0.0}), 2),
        (Scalarization(name="weighted_sum", weights={"acc": 3.0}), 0),
        (Scalarization(name="weighted_sum", weights={"latency": 5.0}), 2),
    ],
)
def test_a_named_scalarization_takes_one_trial_from_the_front(
    scalarization: Scalarization, chosen: int
) -> None:
    front = trials((0.9, 100.0), (0.8, 50.0), (0.6, 10.0))
    taken = scalarization.choose(front, BOTH)
    assert taken is not None
    assert taken.number == chosen


def curve(values: Mapping[str, Any], trial: int) -> Iterable[tuple[dict[str, float], float]]:
    for step in range(1, 4):
        acc = 1 - (values["x"] - 0.5) ** 2 - 0.1 / step
        yield {"acc": acc, "latency": values["x"] + values["y"]}, 1.0


def run(searcher: str = "random", scheduler: Mapping[str, Any] = {"name": "none"}, **more: Any):
    setup = Setup(
        space=SPACE,
        num_samples=24,
        objective=BOTH,
        searcher={"name": searcher},
        scheduler=scheduler,
        workers=3,
    )
    return simulate(curve, setup, **more)


@pytest.mark.parametrize("searcher", ["random", "tpe"])
@pytest.mark.parametrize("scheduler", [{"name": "none"}, {"name": "asha", "max_t": 3}])
def test_a_sweep_of_several_objectives_goes_on_exactly_where_it_was_cut(
    tmp_path: Any, searcher: str, scheduler: Mapping[str, Any]
) -> None:
    path = tmp_path / "journal.log"
    unbroken = run(searcher, scheduler, log=Journal(path))
    assert [repr(e) for e in read_journal(path)] == [repr(e) for e in unbroken.events]
    for kept in range(3, len(unbroken.events), 11):
        resumed: Simulated = run(searcher, scheduler, history=unbroken.events[:kept])
        assert [ask.params for ask in resumed.asks] == [ask.params for ask in unbroken.asks]


def test_optuna_reads_the_journal_of_several_objectives(tmp_path: Any) -> None:
    path = tmp_path / "journal.log"
    done = run(log=Journal(path))
    backend = optuna.storages.journal.JournalFileBackend(str(path))
    study = optuna.load_study(
        study_name="simulation", storage=optuna.storages.JournalStorage(backend)
    )
    front = sorted(trial.number for trial in study.best_trials)
    assert front == sorted(numbers(pareto_front(done.trials, BOTH)))
    assert study.metric_names is None or len(study.directions) == 2


def test_a_trial_without_one_of_the_objectives_fails_and_says_which() -> None:
    def without(values: Mapping[str, Any], trial: int) -> Iterable[Any]:
        yield {"acc": 1.0, **({} if trial == 1 else {"latency": 1.0})}, 1.0

    setup = Setup(space=SPACE, num_samples=3, objective=BOTH, searcher={"name": "random"})
    done = simulate(without, setup).trials
    assert [trial.status.value for trial in done] == ["complete", "failed", "complete"]
    assert "metric is 'latency', and trial 1 came without it" in (done[1].error or "")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["hydra.sweeper.mode=max"], "say min or max for each metric"),
        (
            ["hydra.sweeper.mode=[max,min]", "hydra.sweeper.scalarization={name: sum}"],
            "name is 'sum'; choose from chebyshev, weighted_sum, first",
        ),
        (
            ["hydra.sweeper.mode=[max,min]", "hydra.sweeper.scalarization={weights: {lat: 1}}"],
            "weights.lat is no objective of this sweep; they are acc, latency",
        ),
    ],
)
def test_wrong_objectives_are_answered_with_the_rule(
    settings: Any, options: list[str], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        settings("hydra.sweeper.metric=[acc,latency]", *options)


@pytest.mark.slow
@pytest.mark.ray
def test_a_sweep_on_ray_shows_its_front_and_exports_what_the_scalarization_takes(
    sweep: Any,
) -> None:
    swept = sweep(
        "tradeoff.py",
        "+x=interval(0,1)",
        "hydra.sweeper.metric=[quality,cost]",
        "hydra.sweeper.mode=[max,min]",
        "hydra.sweeper.num_samples=8",
        "hydra.sweeper.scalarization={name: weighted_sum, weights: {cost: 1000}}",
        "hydra.sweeper.seed=0",
    )
    assert swept.code == 0
    assert swept.out.split()[:4] == ["trial", "quality", "cost", "step"]
    assert "8 trials on the Pareto front; ● is taken by weighted_sum" in swept.out
    least = min(swept.trials, key=lambda trial: trial.params["x"])
    assert f"trial {least.number} " in next(li for li in swept.out.splitlines() if "best " in li)
    table = sweep.caviar("results", str(swept.folder.path), "--csv").out
    assert '"pareto","value.cost"' in table
