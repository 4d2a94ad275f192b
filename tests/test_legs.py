"""The stretches that a trial was trained in, from its sweep's journal."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from sweeps.errors import ConfigError, SweepError
from sweeps.journal.events import Lost, Started
from sweeps.journal.objective import Objective
from sweeps.journal.status import Decision, Status
from sweeps.rerun import Leg, legs_of, straightened

HIGHER = Objective(metric="val_accuracy", mode="max")


def legs(made: Any, trial: int = 0) -> list[Leg]:
    return legs_of(made.events, made.folder, HIGHER, trial)


def stretches(made: Any, trial: int = 0) -> list[tuple[int, str, int, int | None]]:
    return [(leg.trial, leg.job, leg.begin, leg.end) for leg in legs(made, trial)]


def checkpoint(step: int, job: str = "0/1") -> str:
    return f"trials/{job}/checkpoints/{step:06d}"


def start(made: Any, step: int | None, *, reason: str = "promote") -> None:
    kept = None if step is None else checkpoint(step)
    made.add(Started, trial=0, run=1, checkpoint=kept, reason=reason)


@pytest.fixture
def made(make_sweep: Callable[..., Any]) -> Any:
    made = make_sweep()
    made.ask(0, lr=0.1)
    return made


def test_a_trial_that_was_stopped_ends_where_it_was(made: Any) -> None:
    made.report(0, 1, 0.5)
    made.report(0, 2, 0.6, Decision.STOP)
    made.end(0, Status.STOPPED, 0.6)
    (leg,) = legs(made)
    assert (leg.job, leg.begin, leg.end) == ("trials/0/1", 0, 2)
    assert leg.values == {"lr": 0.1}
    assert leg.reports == {1: {"val_accuracy": 0.5}, 2: {"val_accuracy": 0.6}}


def test_one_whose_task_returned_or_raised_ends_by_itself(made: Any) -> None:
    made.report(0, 1, 0.5)
    made.end(0, Status.COMPLETE, 0.5)
    made.ask(1, lr=0.2)
    made.end(1, Status.FAILED, error="ValueError: no")
    assert stretches(made) == [(0, "trials/0/1", 0, None)]
    assert stretches(made, 1) == [(1, "trials/1/1", 0, None)]


def test_pauses_part_it_and_to_straighten_joins_it_again(made: Any) -> None:
    for step in (1, 3):
        made.report(0, step, 0.5, Decision.PAUSE, checkpoint=checkpoint(step))
        start(made, step)
    made.report(0, 4, 0.7)
    job = "trials/0/1"
    assert stretches(made) == [(0, job, 0, 1), (0, job, 1, 3), (0, job, 3, 4)]
    (whole,) = straightened(legs(made))
    assert (whole.begin, whole.end, [*whole.reports]) == (0, 4, [1, 3, 4])


def test_what_was_lost_does_not_count_and_a_life_has_a_folder_of_its_own(made: Any) -> None:
    for step in (1, 2, 3):
        made.report(0, step, 0.5, checkpoint=checkpoint(2) if step == 2 else None)
    made.add(Lost, trial=0, reason="killed")
    start(made, 2, reason="retry")
    made.report(0, 3, 0.6)
    assert stretches(made) == [(0, "trials/0/1", 0, 2), (0, "trials/0/1-1", 2, 3)]
    assert [*legs(made)[0].reports] == [1, 2]


def test_without_a_checkpoint_it_began_anew(made: Any) -> None:
    made.report(0, 1, 0.5)
    made.add(Lost, trial=0, reason="killed")
    start(made, None, reason="retry")
    made.report(0, 1, 0.5)
    assert stretches(made) == [(0, "trials/0/1-1", 0, 1)]


def test_a_copy_begins_as_the_trial_that_it_was_copied_from(made: Any) -> None:
    made.report(0, 2, 0.9, Decision.PAUSE, checkpoint=checkpoint(2))
    made.ask(1, lr=0.2)
    made.report(1, 2, 0.1, Decision.PAUSE, checkpoint=checkpoint(2, "1/1"))
    made.add(
        Started,
        trial=1,
        run=1,
        reason="exploit",
        source=0,
        params=made.space.optuna_params({"lr": 0.12}),
        checkpoint=checkpoint(2, "1/1.1"),
        step=2,
    )
    made.report(1, 3, 0.95, Decision.COMPLETE)
    made.end(1, Status.COMPLETE, 0.95)
    first, second = legs(made, 1)
    assert (first.trial, first.job, first.end, first.values) == (0, "trials/0/1", 2, {"lr": 0.1})
    assert (second.job, second.begin, second.end) == ("trials/1/1.1", 2, 3)
    assert second.values == pytest.approx({"lr": 0.12})
    assert len(straightened([first, second])) == 2


def test_a_trial_that_is_not_there_or_has_nothing_to_compare_is_refused(made: Any) -> None:
    with pytest.raises(SweepError, match="has reported nothing"):
        legs(made)
    with pytest.raises(ConfigError, match="no trial 7: it has trials 0 to 0"):
        legs(made, 7)
