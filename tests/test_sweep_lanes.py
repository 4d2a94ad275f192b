"""What one process owes the next trial that it runs."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import sweeps
from sweeps import session
from sweeps.journal.events import Lost
from sweeps.journal.objective import Objective
from sweeps.journal.status import Decision
from sweeps.planning.compose import Patch
from sweeps.searchers.base import trial_seed
from sweeps.session import Send
from sweeps.worker.messages import Job, Raised, Report, Returned
from sweeps.worker.trainable import HOLD_S, _Segment

ONE_LANE = "hydra.sweeper.max_concurrent_trials=1"
UNWINDS = ["+x=range(1,4)", "hydra/sweeper/searcher=grid", "hydra.sweeper.metric=loss"]
UNWINDS += ["hydra.sweeper.mode=min", ONE_LANE]


@pytest.mark.slow
@pytest.mark.ray
def test_a_trial_that_takes_seconds_to_end_does_not_harm_the_next(sweep) -> None:
    swept = sweep("unwinds.py", *UNWINDS, "+unwind_s=2.5")

    assert swept.code == 0
    assert swept.statuses == ["diverged", "complete", "complete"]
    assert (swept.job(0) / "unwound").exists()
    assert len({swept.read(trial, "pid") for trial in range(3)}) == 1
    assert not any(isinstance(event, Lost) for event in swept.events)


@pytest.mark.slow
@pytest.mark.ray
def test_a_trial_that_never_ends_has_its_lane_replaced_and_the_next_is_not_to_blame(sweep) -> None:
    swept = sweep("unwinds.py", *UNWINDS, "+unwind_s=1000", "hydra.sweeper.teardown_timeout_s=0.5")

    assert swept.code == 0
    assert swept.statuses == ["diverged", "complete", "complete"]
    pids = [swept.read(trial, "pid") for trial in range(3)]
    assert pids[0] != pids[1] == pids[2]
    assert not any(isinstance(event, Lost) for event in swept.events)
    assert not os.path.exists(f"/proc/{pids[0]}")


@pytest.mark.ray
def test_a_segment_finds_its_process_as_if_it_were_the_first(sweep) -> None:
    import torch

    swept = sweep(
        "dirty.py",
        "+x=range(0,3)",
        "hydra/sweeper/searcher=grid",
        "hydra.sweeper.seed=7",
        ONE_LANE,
    )

    assert swept.code == 0
    found = [json.loads(swept.read(trial, "found.json")) for trial in range(3)]
    assert len({one["pid"] for one in found}) == 1
    for trial, one in enumerate(found):
        assert one["variable"] is None
        assert one["cwd"] == os.getcwd()
        assert len(one["argv"]) == 2
        assert one["threads"] == found[0]["threads"]
        x = swept.trials[trial].params["x"]
        assert swept.read(trial, "own.log").split("\n") == [f"trial {x}", ""]
        seed = trial_seed(7, trial)  # so the numbers depend on nothing else
        assert one["random"] == random.Random(seed).random()
        assert one["numpy"] == np.random.RandomState(seed).random()
        generator = torch.Generator().manual_seed(seed)
        assert one["torch"] == torch.rand((), generator=generator).item()


@pytest.fixture
def now() -> list[float]:
    """The time, alone in a list; it stands unless it is moved."""
    return [0.0]


@pytest.fixture
def segment_of(
    tmp_path: Path, now: list[float]
) -> Callable[[Callable[[], object], tuple[int, ...] | None], _Segment]:
    """Starts a task as a segment whose job folder is tmp_path.

    Its second argument are the rungs between which nobody judges.
    """
    objective = Objective(metric="loss", mode="min")
    job = Job(
        trial=0,
        folder=tmp_path,
        base=None,
        base_id="",
        patch=Patch(overrides=(), updates=()),
        checkpoint=None,
        best=None,
        best_step=None,
        says_left=False,
    )

    def start(task: Callable[[], object], rungs: tuple[int, ...] | None = None) -> _Segment:
        def train(job: Job, send: Send) -> object:
            session.begin(
                session.Session(
                    job_folder=job.folder,
                    checkpoint=None,
                    send=send,
                    objective=objective,
                    rungs=rungs or (),
                    judged_between=rungs is None,
                )
            )
            try:
                return task()
            finally:
                session.end()

        return _Segment(job, train, _raised, clock=lambda: now[0])

    return start


def _raised(job: Job, error: BaseException) -> Raised:
    return Raised(trial=job.trial, error=repr(error), cause="error")


@pytest.mark.parametrize(("decided", "kept"), [(True, {"000002"}), (False, {"000001", "000002"})])
def test_a_checkpoint_goes_only_when_the_driver_knows_the_next(
    segment_of, tmp_path: Path, decided: bool, kept: set[str]
) -> None:
    state = tmp_path / "state"
    state.mkdir()

    def task() -> None:
        for step in (1, 2):
            sweeps.report({"loss": 1 / step}, step=step, checkpoint=state)

    segment = segment_of(task)
    segment.next_messages()
    segment.answer(Decision.CONTINUE)
    segment.next_messages()

    assert segment.end(5, decided=decided)
    assert {path.name for path in (tmp_path / "checkpoints").iterdir()} == kept


def test_a_task_that_catches_its_own_end_is_ended_at_its_next_report(segment_of) -> None:
    ends = []

    def task() -> None:
        for step in range(1, 4):
            try:
                sweeps.report({"loss": 1.0}, step=step)
            except BaseException as end:  # noqa: BLE001
                ends.append(type(end))

    segment = segment_of(task)
    segment.next_messages()

    assert segment.end(5, decided=True)
    assert ends == [sweeps.TrialEnded] * 3


def test_reports_that_nobody_judges_go_along_with_the_next_that_somebody_does(segment_of) -> None:
    def task() -> float:
        for step in range(1, 8):
            sweeps.report({"loss": 1 / step}, step=step)
        return 0.125

    segment = segment_of(task, (1, 5))

    assert [m.step for m in segment.next_messages()] == [1]
    segment.answer(Decision.CONTINUE)
    assert [m.step for m in segment.next_messages()] == [2, 3, 4, 5]
    segment.answer(Decision.CONTINUE)
    *reports, returned = segment.next_messages()
    assert [m.step for m in reports] == [6, 7]
    assert returned == Returned(trial=0, metrics={"objective": 0.125})


def test_what_was_held_back_comes_before_an_error(segment_of) -> None:
    def task() -> None:
        sweeps.report({"loss": 1.0}, step=2)
        raise RuntimeError("no")

    report, raised = segment_of(task, (5,)).next_messages()

    assert isinstance(report, Report)
    assert isinstance(raised, Raised)


def test_nothing_is_held_back_for_long(segment_of, now: list[float]) -> None:
    def task() -> None:
        for step in range(2, 7):
            now[0] += 0.6 * HOLD_S
            sweeps.report({"loss": 1.0}, step=step)

    segment = segment_of(task, (9,))

    assert [m.step for m in segment.next_messages()] == [2, 3]
    segment.answer(Decision.CONTINUE)
    assert [m.step for m in segment.next_messages()] == [4, 5]
    segment.end(5, decided=True)
