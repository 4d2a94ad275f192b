"""Every searcher and every scheduler on Ray, killed in the middle and resumed."""

from __future__ import annotations

import signal
from collections import Counter
from typing import Any

import pytest

from sweeps.journal.events import Asked, Ended, Reported
from sweeps.journal.status import Status
from sweeps.schedulers import SCHEDULERS
from sweeps.searchers import SEARCHERS

pytestmark = [pytest.mark.slow, pytest.mark.ray]

CURVE = ["curve.py", "hydra.sweeper.metric=loss", "hydra.sweeper.mode=min", "hydra.sweeper.seed=5"]
CURVE += ["hydra.sweeper.num_samples=12", "+epochs=9", "+epoch_s=0.03"]
CONTINUOUS = ["+x=interval(-5,5)", "+y=int(interval(1,8))"]
FINITE = ["+x=range(-5,6)", "+y=1,2"]
OPTIONS = {
    "none": [],
    "median": [],
    "pbt": ["max_t=9", "perturbation_interval=3", "hyperparam_mutations=[x]"],
    "pb2": ["max_t=9", "perturbation_interval=3", "hyperparam_mutations=[x]"],
}
MATRIX = [
    ("tpe", "asha"),
    ("bohb", "hyperband"),
    ("cmaes", "successive_halving"),
    ("genetic", "asha_stop"),
    ("gp", "none"),
    ("annealing", "median"),
    ("coarse_to_fine", "learning_curve"),
    ("controller", "asha"),
    ("grid", "asha_stop"),
    ("qmc", "pb2"),
    ("random", "pbt"),
]


def test_every_searcher_and_scheduler_is_in_the_matrix() -> None:
    assert {searcher for searcher, _ in MATRIX} == set(SEARCHERS)
    assert {scheduler for _, scheduler in MATRIX} == set(SCHEDULERS)


@pytest.mark.parametrize(("searcher", "scheduler"), MATRIX)
def test_a_sweep_killed_in_the_middle_ends_with_every_trial_once(
    sweep: Any, searcher: str, scheduler: str
) -> None:
    options = [f"hydra.sweeper.scheduler.{o}" for o in OPTIONS.get(scheduler, ["max_t=9"])]
    space = FINITE if searcher in ("grid", "controller") else CONTINUOUS
    given = [*CURVE, *space, f"hydra/sweeper/searcher={searcher}"]
    given += [f"hydra/sweeper/scheduler={scheduler}", *options]
    driver = sweep.drive(*given)
    driver.wait_for_reports(20)
    assert driver.end(signal.SIGKILL) == -signal.SIGKILL
    swept = sweep.caviar("resume", str(driver.folder.path))
    assert swept.code == 0, swept.err

    events = swept.events
    assert [event.trial for event in events if isinstance(event, Asked)] == list(range(12))
    ends = Counter(event.trial for event in events if isinstance(event, Ended))
    assert set(ends.values()) <= {1}
    trials = swept.trials
    assert not trials.with_status(Status.RUNNING, Status.FAILED)
    if scheduler not in ("pbt", "pb2"):  # where a trial goes on at another's step
        seen = Counter((e.trial, e.step) for e in events if isinstance(e, Reported))
        assert set(seen.values()) == {1}
    assert trials.best is not None


@pytest.mark.parametrize("scheduler", ["asha", "asha_stop"])
def test_one_whose_fidelity_is_a_parameter_trains_each_trial_once_at_each_of_its_rungs(
    sweep: Any, scheduler: str
) -> None:
    given = ["share.py", "+x=interval(-1,1)", *CURVE[1:5], f"hydra/sweeper/scheduler={scheduler}"]
    driver = sweep.drive(*given, "hydra.sweeper.fidelity={name: +share, min: 0.1, max: 1}")
    driver.wait_for_reports(8)
    assert driver.end(signal.SIGKILL) == -signal.SIGKILL
    swept = sweep.caviar("resume", str(driver.folder.path))
    assert swept.code == 0, swept.err

    trials = swept.trials
    assert len(trials) == 12
    assert not trials.with_status(Status.RUNNING, Status.FAILED)
    for trial in trials:
        rungs = [
            e.step for e in swept.events if isinstance(e, Reported) and e.trial == trial.number
        ]
        assert rungs == [1, 2, 3][: len(rungs)]
        assert trial.promotions == len(rungs) - 1
    assert trials.best.step == 3
