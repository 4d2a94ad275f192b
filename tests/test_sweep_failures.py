"""Sweeps in which trials fail."""

from __future__ import annotations

import pytest

from sweeps.journal import Closed, Lost

pytestmark = pytest.mark.ray

GRID = "hydra/sweeper/searcher=grid"
ONE_LANE = "hydra.sweeper.max_concurrent_trials=1"


def test_failed_trials_are_recorded_and_the_sweep_goes_on(sweep) -> None:
    swept = sweep("trouble.py", "+kind=fine,raises,text", GRID)

    assert swept.code == 0
    assert swept.statuses == ["complete", "failed", "failed"]
    errors = [trial.error for trial in swept.trials]
    assert "Traceback" in errors[1]
    assert "RuntimeError: no such luck" in errors[1]
    assert "metric 'objective' is 'good'; it must be a number" in errors[2]
    assert "RuntimeError: no such luck" in swept.read(1, "output.log")
    assert "trial 1 failed: RuntimeError: no such luck | trials/1/1" in swept.err
    assert "Traceback" not in swept.err + swept.out


def test_a_trial_whose_process_dies_goes_on_from_its_checkpoint_as_often_as_allowed(sweep) -> None:
    swept = sweep("trouble.py", "+kind=dies,dies_once,fine", GRID, "hydra.sweeper.max_losses=1")

    assert swept.code == 0
    assert swept.statuses == ["failed", "complete", "complete"]
    assert [trial.losses for trial in swept.trials] == [2, 1, 0]
    assert swept.trials[0].cause == "lost"
    assert [event.trial for event in swept.events if isinstance(event, Lost)].count(0) == 2
    assert swept.read(0, "segments.log").split() == ["0", "1"]
    assert swept.read(0, "epochs.log").split() == ["1"]
    assert swept.read(1, "segments.log").split() == ["0", "1"]
    assert swept.read(1, "epochs.log").split() == ["1", "2", "3"]


def test_a_sweep_whose_trials_all_fail_ends_with_one_message_and_exit_code_1(sweep) -> None:
    swept = sweep("trouble.py", "+kind=raises", "+x=1,2", GRID)

    assert swept.code == 1
    assert swept.statuses == ["failed", "failed"]
    assert swept.err.splitlines()[-1] == (
        "all 2 trials failed; the first: RuntimeError: no such luck"
    )
    assert "Traceback" not in swept.err


@pytest.mark.slow
def test_more_failures_than_allowed_end_the_sweep(sweep) -> None:
    swept = sweep(
        "trouble.py",
        "+kind=raises",
        "+x=range(0,20)",
        GRID,
        ONE_LANE,
        "hydra.sweeper.max_failure_rate=0.4",
    )

    assert swept.code == 1
    assert swept.statuses.count("failed") == 5
    assert "5 of 5 ended trials failed, more than hydra.sweeper.max_failure_rate, 0.4" in swept.err
    assert swept.events[-1] == Closed(reason="failed", time=swept.events[-1].time)


def test_a_metric_that_never_comes_ends_the_sweep_at_the_first_trial_that_ended(sweep) -> None:
    swept = sweep(
        "trouble.py",
        "+kind=loses",
        "+x=range(0,20)",
        GRID,
        ONE_LANE,
        "hydra.sweeper.metric=loss",
        "hydra.sweeper.mode=min",
    )

    assert swept.code == 1
    assert swept.statuses.count("failed") == 1
    assert len(swept.trials) <= 2
    assert "hydra.sweeper.metric is 'loss', and trial" in swept.err
    assert "it gave los; did you mean los?" in swept.err
    assert "Traceback" not in swept.err


def test_what_no_trial_can_import_ends_the_sweep_at_the_first(sweep) -> None:
    swept = sweep("trouble.py", "+kind=imports", "+x=range(0,20)", GRID, ONE_LANE)

    assert swept.code == 1
    assert swept.statuses.count("failed") == 1
    assert "cannot import what it needs, so none can" in swept.err
    assert "Error locating target 'no_such_package.Net'" in swept.err
    (failed,) = [trial for trial in swept.trials if trial.status == "failed"]
    log = swept.folder.output(failed.number, 1)
    assert f"The whole traceback is in {log}" in swept.err
    assert "ModuleNotFoundError" in log.read_text()
    assert "Traceback" not in swept.err


def test_an_app_that_no_worker_can_import_ends_the_sweep(sweep) -> None:
    swept = sweep("unguarded.py", "+x=range(0,20)", GRID, ONE_LANE)

    assert swept.code == 1
    assert "the app cannot be imported in a worker: AttributeError" in swept.err
    assert f"The whole traceback is in {swept.folder.log}" in swept.err
    assert "Traceback" in swept.folder.log.read_text()
    assert "Traceback" not in swept.err
    assert len(swept.trials) == 0
