"""Sweeps whose trials train in several ranks."""

from __future__ import annotations

import json
from typing import Any

import psutil
import pytest

from sweeps.journal.events import Lost
from sweeps.journal.status import Status

pytestmark = pytest.mark.ray

TWO = ["hydra.sweeper.resources={workers: 2}", "hydra.sweeper.metric=loss"]
TWO += ["hydra.sweeper.mode=min", "hydra/sweeper/searcher=grid"]


def lines(swept, trial: int, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in swept.read(trial, f"{name}.jsonl").splitlines()]


def all_lines(swept, name: str) -> list[dict[str, Any]]:
    return [line for trial in swept.trials for line in lines(swept, trial.number, name)]


def segments(swept, trial: int, *, rank: int) -> list[tuple[int, int]]:
    """The epochs between which a rank trained."""
    begins, ends = (
        [one["epoch"] for one in lines(swept, trial, name) if one["rank"] == rank]
        for name in ("begins", "ends")
    )
    return list(zip(begins, ends, strict=True))


def assert_none_lives(pids: set[int]) -> None:
    there = [psutil.Process(pid) for pid in pids if psutil.pid_exists(pid)]
    _, alive = psutil.wait_procs(there, timeout=10)
    assert not alive


def placement_groups() -> int:
    import ray

    table = ray.util.placement_group_table()
    return sum(group["state"] == "CREATED" for group in table.values())


@pytest.mark.slow
def test_ranks_pause_go_on_and_end_together_and_leave_nothing(sweep) -> None:
    asha = ["hydra/sweeper/scheduler=asha", "hydra.sweeper.scheduler.max_t=9"]
    swept = sweep("ranks.py", "+x=range(1,25)", *TWO, *asha)

    assert swept.code == 0, swept.err
    assert "each of a trial's 2 workers gets no GPU, 1 CPU; 1 run at once" in swept.err
    begins, ends = all_lines(swept, "begins"), all_lines(swept, "ends")
    assert len(begins) == len(ends) > 2 * 24
    for trial in swept.trials:
        first, second = segments(swept, trial.number, rank=0), segments(swept, trial.number, rank=1)
        assert first == second
        assert [begun for begun, _ in first] == [0, *(end for _, end in first[:-1])]
    assert sum(trial.status is not Status.COMPLETE for trial in swept.trials) >= 20
    assert {one["total"] for one in ends} == {3.0}
    seen = {(one["rank"], one["RANK"], one["LOCAL_RANK"], one["WORLD_SIZE"]) for one in begins}
    assert seen == {(0, "0", "0", "2"), (1, "1", "1", "2")}
    assert {(one["LOCAL_WORLD_SIZE"], one["MASTER_ADDR"]) for one in begins} == {("2", "127.0.0.1")}
    assert {one["groups"] for one in begins if one["rank"] == 0} == {1}
    pids = {one["pid"] for one in begins}
    assert len(pids) == 2
    assert_none_lives(pids)
    assert placement_groups() == 0
    files = {path.name for path in swept.job(0).iterdir()}
    assert {"output.log", "output.1.log", "ranks.log", "ranks.1.log"} <= files


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["dies", "first_dies"])
def test_a_rank_that_dies_fails_its_trial_once_and_another_goes_on(sweep, kind: str) -> None:
    swept = sweep("ranks.py", "+x=choice(1)", f"+kind={kind}", *TWO, "hydra.sweeper.max_losses=1")

    assert swept.code == 0, swept.err
    assert swept.statuses == ["complete"]
    (lost,) = [event for event in swept.events if isinstance(event, Lost)]
    died = "its process or node died (killed, or out of memory)"
    assert lost.reason == (f"rank 1 of trial 0 was lost: {died}" if kind == "dies" else died)
    begins = lines(swept, 0, "begins")
    assert sorted((one["rank"], one["epoch"]) for one in begins) == [(0, 0), (0, 3), (1, 0), (1, 3)]
    assert_none_lives({one["pid"] for one in begins})


@pytest.mark.slow
def test_what_a_rank_raises_is_what_its_trial_failed_of(sweep) -> None:
    retries = ["hydra.sweeper.max_retries=1", "hydra.sweeper.retry_backoff_s=0.1"]
    swept = sweep("ranks.py", "+x=1", "+kind=raises,leaves_and_raises", *TWO, *retries)

    assert swept.code == 0, swept.err
    assert swept.statuses == ["failed", "complete"]
    raises, leaves = swept.trials
    assert (raises.error or "").startswith("in rank 1 of 2:\nTraceback")
    assert "trial 0 failed (tried 2 times): RuntimeError: rank 1 has no luck" in swept.out
    assert len(raises.failures) == len(leaves.failures) == 1
    assert "RuntimeError: rank 1 has no luck this time" in leaves.failures[0].reason
    assert sorted(one["epoch"] for one in lines(swept, 1, "begins")) == [0, 0, 3, 3]
    assert "RuntimeError: rank 1 has no luck" in swept.read(0, "output.1.log")
    assert_none_lives({one["pid"] for one in all_lines(swept, "begins")})


@pytest.mark.slow
def test_a_rank_that_hangs_is_ended_with_its_trial(sweep) -> None:
    limit = "hydra.sweeper.trial_time_limit_s=4"
    swept = sweep("ranks.py", "+x=choice(1)", "+kind=hangs", *TWO, limit)

    assert swept.code == 0, swept.err
    assert [trial.cause for trial in swept.trials] == ["time_limit"]
    assert_none_lives({one["pid"] for one in all_lines(swept, "begins")})


@pytest.mark.slow
def test_a_trial_of_which_rank_0_alone_reports_is_stopped_too(sweep) -> None:
    asha = ["hydra/sweeper/scheduler=asha_stop", "hydra.sweeper.scheduler.max_t=9"]
    swept = sweep("ranks.py", "+x=1,2,3", "+kind=one_reports", *TWO, *asha)

    assert swept.code == 0, swept.err
    assert Status.STOPPED in [trial.status for trial in swept.trials]
    assert Status.FAILED not in [trial.status for trial in swept.trials]
    assert not any(isinstance(event, Lost) for event in swept.events)
    assert_none_lives({one["pid"] for one in all_lines(swept, "begins")})


@pytest.mark.slow
def test_two_ranks_of_a_sweep_train_the_weights_of_one_process(sweep) -> None:
    from torch.testing import assert_close

    from models import load_checkpoint

    states = []
    for workers in (1, 2):
        swept = sweep(
            "sweeps.train",
            f"hydra.sweeper.resources={{workers: {workers}}}",
            "optimizer.lr=choice(0.1)",
            "trainer.epochs=3",
            "model.dropout=0.3",
            "hydra.sweeper.metric=val_accuracy",
            "hydra.sweeper.mode=max",
            "hydra/sweeper/searcher=grid",
            name=f"of{workers}",
        )
        assert swept.code == 0, swept.err
        states.append(load_checkpoint(swept.job(0) / "checkpoints" / "000003"))
    one, two = states
    assert one["model"].keys() == two["model"].keys()
    for name, tensor in one["model"].items():
        assert_close(two["model"][name], tensor, rtol=1e-5, atol=1e-5)
    assert one["rng"]["dropout"].equal(two["rng"]["dropout"])
