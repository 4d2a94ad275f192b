"""Sweeps in which trials fail."""

from __future__ import annotations

import os
from unittest.mock import MagicMock

import psutil
import pytest

from sweeps.journal.events import Closed, Lost
from sweeps.journal.file import read_journal
from sweeps.journal.status import Status
from sweeps.results import load_sweep

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


@pytest.mark.slow
def test_a_trial_whose_process_dies_goes_on_from_its_checkpoint_as_often_as_allowed(sweep) -> None:
    swept = sweep("trouble.py", "+kind=dies,dies_once,fine", GRID, "hydra.sweeper.max_losses=1")

    assert swept.code == 0
    assert swept.statuses == ["failed", "complete", "complete"]
    assert [trial.losses for trial in swept.trials] == [2, 1, 0]
    assert swept.trials[0].cause == "lost"
    assert [event.trial for event in swept.events if isinstance(event, Lost)].count(0) == 2
    for trial, epochs in ((0, [["1"], []]), (1, [["1"], ["2", "3"]])):
        for life, begun in enumerate(["0", "1"]):
            job = swept.folder.job(trial, 1, life=life)
            assert (job / "segments.log").read_text().split() == [begun]
            log = job / "epochs.log"
            assert (log.read_text().split() if log.exists() else []) == epochs[life]


@pytest.mark.slow
def test_what_a_task_raises_tells_no_secret_of_the_config(sweep) -> None:
    swept = sweep("trouble.py", "+kind=leaks,fine", "+password=open-sesame", GRID)

    assert "RuntimeError: nobody gets in with ***" in (swept.trials[0].error or "")
    assert "open-sesame" not in swept.folder.journal.read_text() + swept.err


@pytest.mark.slow
def test_a_trial_that_raises_goes_on_in_another_process_from_its_checkpoint(sweep) -> None:
    retries = ["hydra.sweeper.max_retries=2", "hydra.sweeper.retry_backoff_s=0.1"]
    swept = sweep("trouble.py", "+kind=flaky,raises,memory,imports", GRID, *retries)

    assert swept.code == 0
    assert swept.statuses == ["complete", "failed", "diverged", "failed"]
    flaky, _, memory, imports = swept.trials
    assert [len(trial.failures) for trial in swept.trials] == [2, 2, 0, 0]
    assert swept.read(0, "segments.log").split() == ["0", "1", "1"]
    assert swept.read(0, "epochs.log").split() == ["1", "2", "3"]
    assert len(set(swept.read(0, "pids.log").split())) == 3
    assert swept.read(0, "output.log").count("RuntimeError: no luck this time") == 2
    assert all("RuntimeError: no luck this time" in lost.reason for lost in flaky.failures)
    assert flaky.losses == 0
    assert swept.read(1, "output.log").count("RuntimeError: no such luck") == 3
    assert "trial 1 failed (tried 3 times): RuntimeError: no such luck" in swept.out
    assert (memory.cause, imports.cause) == ("out_of_memory", "import")
    assert "MemoryError" in (memory.error or "")
    assert "trial 2 diverged, out of memory: try a smaller batch" in swept.err
    assert "out of memory in 1 trial: try a smaller batch or model" in swept.out
    assert "Traceback" not in swept.err + swept.out


@pytest.mark.slow
def test_a_trial_beyond_its_time_limit_is_ended_whether_it_reports_or_not(sweep) -> None:
    limit = "hydra.sweeper.trial_time_limit_s=1.5"
    swept = sweep("trouble.py", "+kind=slow,slows,hangs,fine", GRID, limit)

    assert swept.code == 0
    assert swept.statuses == ["stopped", "stopped", "failed", "complete"]
    slow, slows, hangs, _ = swept.trials
    assert [trial.cause for trial in (slow, slows, hangs)] == ["time_limit"] * 3
    assert slow.value == 1 / slow.step
    assert slows.value == 1.0
    assert all(1.5 < trial.seconds < 30 for trial in (slow, slows, hangs))
    assert not any(isinstance(event, Lost) for event in swept.events)
    assert "hydra.sweeper.trial_time_limit_s ended 3 trials" in swept.out
    assert "trained for longer than hydra.sweeper.trial_time_limit_s, 1.5 s" in swept.err
    for pid in map(int, swept.read(1, "pids.log").split()):
        assert not os.path.exists(f"/proc/{pid}")


def test_whatever_ray_says_of_a_lane_that_is_gone_tune_takes_for_its_death() -> None:
    from ray.air.execution._internal import RayActorManager
    from ray.exceptions import OutOfMemoryError, RayActorError, RayTaskError

    from sweeps.driver.tune import _surviving_lost_lanes

    def told_of(error: Exception) -> list[Exception]:
        task = MagicMock()
        RayActorManager._actor_task_failed(MagicMock(), tracked_actor_task=task, exception=error)
        return [call.args[1] for call in task._tracked_actor._on_error.call_args_list]

    died = RayActorError(error_msg="died")
    raised = RayTaskError("step", "Traceback", ValueError("no"))
    with pytest.raises(RuntimeError, match="low on memory"):
        told_of(OutOfMemoryError("low on memory"))
    with _surviving_lost_lanes():
        (error,) = told_of(OutOfMemoryError("low on memory"))
        assert isinstance(error, RayActorError)
        assert str(error) == "low on memory"
        assert told_of(died) == [died]
        assert told_of(raised) == []
        with pytest.raises(RuntimeError, match="of our own"):
            told_of(KeyError("of our own"))
    with pytest.raises(RuntimeError, match="low on memory"):
        told_of(OutOfMemoryError("low on memory"))


@pytest.mark.slow
def test_a_trial_that_ray_kills_for_its_memory_diverges_when_its_losses_are_used_up(
    sweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = psutil.virtual_memory()
    monkeypatch.setenv("RAY_memory_usage_threshold", str((memory.used + 3e9) / memory.total))
    monkeypatch.setenv("RAY_memory_monitor_refresh_ms", "100")
    driver = sweep.drive(
        "trouble.py", "+kind=eats,fine", GRID, ONE_LANE, "hydra.sweeper.max_losses=1"
    )

    assert driver.process.wait(timeout=240) == 0, driver.output
    events = list(read_journal(driver.folder.journal))
    lost = [event for event in events if isinstance(event, Lost)]
    assert [event.cause for event in lost] == ["out_of_memory"] * 2
    eats, fine = load_sweep(driver.folder).trials
    assert (eats.status, eats.cause) == (Status.DIVERGED, "out_of_memory")
    assert "memory ran low on its node: try a smaller batch" in (eats.error or "")
    assert fine.status is Status.COMPLETE


@pytest.mark.slow
def test_a_sweep_whose_trials_all_run_out_of_memory_says_what_to_do(sweep) -> None:
    swept = sweep("trouble.py", "+kind=memory", "+x=1,2", GRID)

    assert swept.code == 1
    assert swept.statuses == ["diverged", "diverged"]
    assert swept.err.splitlines()[-1] == (
        "all 2 trials ran out of memory: try a smaller batch or model, or fewer trials at once on "
        "a node or device (hydra.sweeper.resources)"
    )


@pytest.mark.slow
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
    assert (
        "5 of 5 trials that ended or paused failed, more than hydra.sweeper.max_failure_rate, 0.4"
        in swept.err
    )
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
