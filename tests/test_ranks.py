"""What a trial of several ranks asks for, and what each rank is told."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import sweeps
from cluster.capacity import Capacity
from sweeps import session
from sweeps.errors import ConfigError
from sweeps.journal.objective import Objective
from sweeps.journal.status import Decision
from sweeps.planning.resources import Resources, describe_slots, resources_of_a_trial
from sweeps.worker.process_group import Seat, hosting, process_group, visible_devices, worlds

THERE = Capacity(nodes=[{"CPU": 16.0, "GPU": 8.0}])


def seats(*nodes: str, devices: int = 0) -> list[Seat]:
    """Ranks on these nodes, each with so many devices of its own."""
    given, free = [], dict.fromkeys(nodes, 0)
    for node in nodes:
        own = range(free[node], free[node] + devices)
        free[node] += devices
        given.append(
            Seat(
                node=node,
                node_address=f"10.0.0.{node}",
                devices=",".join(map(str, own)) if devices else None,
            )
        )
    return given


@pytest.mark.parametrize(
    ("asked", "each"),
    [
        ("{workers: 4, gpus_per_worker: 1}", Resources(workers=4, cpus=1, gpus=1)),
        ("{workers: 4, cpus: 2, gpus: 0.25}", Resources(workers=4, cpus=2, gpus=0.25)),
        ("{workers: 2, cpus_per_worker: 2}", Resources(workers=2, cpus=2, gpus=0)),
        ("{workers: 2}", Resources(workers=2, cpus=1, gpus=1)),
        ("{cpus: 2}", Resources(cpus=2)),
        ("auto", Resources(gpus=1)),
    ],
)
def test_resources_are_those_of_each_worker(settings, asked: str, each: Resources) -> None:
    parsed = settings(f"hydra.sweeper.resources={asked}")

    assert resources_of_a_trial(parsed, THERE) == each


@pytest.mark.parametrize(
    ("asked", "answer"),
    [
        ("{workers: 0}", "resources.workers is 0; it must be a whole number, 1 or more"),
        ("{workers: 1.5}", "resources.workers is 1.5; it must be a whole number"),
        (
            "{workers: 2, gpus: 1, gpus_per_worker: 1}",
            "gpus_per_worker and gpus, which is the same",
        ),
        (
            "{ranks: 2}",
            "resources.ranks is not an option; it must be auto, or a mapping of cpus and gpus",
        ),
        (
            "{workers: 9, gpus: 1}",
            "is 9, each with 1 GPU and 1 CPU, and Ray has room for 8",
        ),
        ("{workers: 4, cpus: 17}", "cpus is 17 for each of 4 workers, and Ray has 16: no trial"),
        ("{workers: 4, cpus: 5}", "workers is 4, each with no GPU, 5 CPU, and Ray has room for 3"),
        ("{gpus: 1.5}", "resources.gpus is 1.5; it must be a whole number, or a part of one GPU"),
        ("{workers: 4, cpus: 0}", "has neither cpus nor gpus"),
    ],
)
def test_resources_that_no_trial_could_have_are_refused(settings, asked: str, answer: str) -> None:
    with pytest.raises(ConfigError) as refused:
        resources_of_a_trial(settings(f"hydra.sweeper.resources={asked}"), THERE)
    assert answer in str(refused.value)


def test_slots_are_whole_trials() -> None:
    each = Resources(workers=3, gpus=1)

    line = describe_slots(each, THERE, None)
    assert line == "each of a trial's 3 workers gets 1 GPU and 1 CPU; 2 run at once"
    assert describe_slots(Resources(), THERE, 4) == "each trial gets no GPU, 1 CPU; 4 run at once"


def test_ranks_are_numbered_on_their_nodes_as_torchrun_does() -> None:
    first, *_, last = worlds(
        seats("a", "b", "a", "b"), gpus=0, address="10.0.0.1", port=29500, segment=7
    )

    assert dict(last.environment) == {
        "RANK": "3",
        "WORLD_SIZE": "4",
        "LOCAL_RANK": "1",
        "LOCAL_WORLD_SIZE": "2",
        "GROUP_RANK": "1",
        "MASTER_ADDR": "10.0.0.1",
        "MASTER_PORT": "29500",
        "ACCELERATE_USE_CPU": "true",
        "TORCHELASTIC_RUN_ID": f"caviar-{last.segment}",
    }
    assert (first.rank, first.local_rank, first.device) == (0, 0, None)


def test_ranks_see_the_devices_of_their_node_unless_they_share_one() -> None:
    def told(*nodes: str, gpus: float, devices: int) -> list[tuple[str | None, int | None, bool]]:
        taken = seats(*nodes, devices=devices)
        ranks = worlds(taken, gpus=gpus, address="", port=0, segment=0)
        visible = visible_devices(taken, gpus=gpus)
        return [
            (seen, one.device, one.shares_device) for seen, one in zip(visible, ranks, strict=True)
        ]

    assert told("a", "b", "a", gpus=1, devices=1) == [
        ("0,1", 0, False),
        ("0", 0, False),
        ("0,1", 1, False),
    ]
    assert told("a", "a", gpus=2, devices=2) == [("0,1,2,3", 0, False), ("0,1,2,3", 2, False)]
    assert told("a", "a", gpus=0.5, devices=1) == [(None, 0, True), (None, 0, True)]
    assert told("a", "a", gpus=0, devices=0) == [(None, None, True), (None, None, True)]


def test_a_process_group_is_left_where_its_segment_ends_and_not_where_it_fails() -> None:
    import torch.distributed as dist

    environment = dict(os.environ)

    def enter(error: BaseException | None) -> None:
        with hosting("127.0.0.1") as store:
            (world,) = worlds(seats("a"), gpus=0, address="127.0.0.1", port=store.port, segment=0)
            with process_group(world, store):
                assert dist.is_initialized()
                assert os.environ["MASTER_PORT"] == str(store.port)
                if error is not None:
                    raise error

    enter(None)
    assert not dist.is_initialized()
    with pytest.raises(session.TrialEnded):
        enter(session.TrialEnded())
    assert not dist.is_initialized()
    with pytest.raises(RuntimeError, match="no luck"):
        enter(RuntimeError("no luck"))
    assert dist.is_initialized()
    dist.destroy_process_group()
    assert dict(os.environ) == environment


def test_the_other_ranks_write_no_checkpoint_and_hear_the_decision(tmp_path: Path) -> None:
    decisions = [Decision.CONTINUE, Decision.PAUSE]
    session.begin(
        session.Session(
            job_folder=tmp_path / "job",
            checkpoint=tmp_path / "000003",
            send=lambda *report: decisions.pop(0),
            objective=Objective(metric="loss", mode="min"),
            always=True,
            rank=1,
        )
    )
    try:
        assert session.rank() == 1
        assert sweeps.get_checkpoint() == tmp_path / "000003"
        sweeps.report({"loss": 1.0}, step=4, checkpoint=lambda to: to.mkdir(parents=True))
        with pytest.raises(sweeps.TrialEnded):
            sweeps.report({"loss": 1.0}, step=5, checkpoint="is/written/by/rank/0")
    finally:
        session.end()
    assert session.rank() == 0
    assert not (tmp_path / "job").exists()
