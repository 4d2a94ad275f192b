"""What fits on nodes: one worker on one node, a trial's workers on any of them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cluster.capacity import Capacity, names_kinds
from sweeps.errors import ConfigError
from sweeps.planning.resources import (
    Resources,
    describe_slots,
    is_auto,
    resources_of_a_trial,
    slots,
)

HEAD = {"memory": 1e9}
TWO = Capacity(nodes=[HEAD, {"CPU": 4.0}, {"CPU": 6.0, "GPU": 4.0}], can_grow=True)
EMPTY = Capacity(nodes=[HEAD], can_grow=True)


@pytest.mark.parametrize(
    ("each", "at_once"),
    [
        (Resources(cpus=1), 10),
        (Resources(cpus=4), 2),
        (Resources(cpus=5), 1),
        (Resources(cpus=7), 0),
        (Resources(cpus=1, gpus=1), 4),
        (Resources(cpus=0.25, gpus=0.25), 16),
        (Resources(cpus=0, gpus=0.3), 12),
        (Resources(cpus=0, gpus=0.75), 4),
        (Resources(cpus=0, gpus=3), 1),
        (Resources(workers=3, cpus=2), 1),
        (Resources(workers=2, cpus=4), 1),
        (Resources(workers=3, cpus=4), 0),
    ],
)
def test_a_worker_takes_room_on_one_node_and_a_part_of_a_gpu_on_one_gpu(
    each: Resources, at_once: int
) -> None:
    assert slots(each, TWO) == at_once


@pytest.mark.parametrize(
    ("asked", "answer"),
    [
        ("{cpus: 7}", "resources.cpus is 7, and no node has more than 6: no trial could ever"),
        ("{gpus: 5}", "resources.gpus is 5, and no node has more than 4: no trial could ever"),
        ("{cpus: 5, gpus: 2, workers: 2}", None),  # one of them fits, and a node may join
    ],
)
def test_what_is_too_large_for_every_node_is_refused(
    settings, asked: str, answer: str | None
) -> None:
    parsed = settings(f"hydra.sweeper.resources={asked}")
    if answer is None:
        each = resources_of_a_trial(parsed, TWO)
        assert "no node has room for one yet: waiting" in describe_slots(each, TWO, None)
    else:
        with pytest.raises(ConfigError, match=answer):
            resources_of_a_trial(parsed, TWO)


def test_cpus_and_gpus_of_different_nodes_make_no_trial(settings) -> None:
    apart = Capacity(nodes=[{"CPU": 8.0}, {"GPU": 1.0}])
    parsed = settings("hydra.sweeper.resources={cpus: 2, gpus: 1}")

    with pytest.raises(ConfigError, match="no node has 1 GPU and 2 CPU"):
        resources_of_a_trial(parsed, apart)


@pytest.mark.parametrize("there", [EMPTY, replace(TWO, autoscales=True)])
def test_what_fits_nowhere_yet_waits_where_nodes_are_to_come(settings, there: Capacity) -> None:
    each = resources_of_a_trial(settings("hydra.sweeper.resources={gpus: 8}"), there)

    line = describe_slots(each, there, 3)
    assert (
        line == "each trial gets 8 GPU and 1 CPU; no node has room for one yet: waiting for nodes"
    )


@pytest.mark.parametrize(
    ("asked", "auto"), [("auto", True), ("{workers: 2}", True), ("{cpus: 1}", False)]
)
def test_the_nodes_decide_where_neither_cpus_nor_gpus_are_asked_for(
    settings, asked: str, auto: bool
) -> None:
    assert is_auto(settings(f"hydra.sweeper.resources={asked}")) is auto


def test_auto_is_a_gpu_where_some_node_has_one(settings) -> None:
    auto = settings("hydra.sweeper.resources=auto")

    assert resources_of_a_trial(auto, TWO) == Resources(gpus=1)
    assert resources_of_a_trial(auto, Capacity(nodes=[{"CPU": 2.0}])) == Resources()


def test_the_line_says_how_many_run_at_once_and_on_how_many_nodes() -> None:
    assert describe_slots(Resources(), TWO, None).endswith("; 10 run at once on 2 nodes")
    assert describe_slots(Resources(gpus=1), TWO, 2).endswith("; 2 run at once")


@pytest.mark.parametrize(
    ("types", "grows"),
    [
        (["ray.head.default", "ray.worker.gpu"], True),
        (["headgroup", "node_17"], True),
        (["node_ffff00000", "node_17a2"], False),
        (["", ""], False),
        ([], False),
    ],
)
def test_an_autoscaler_names_kinds_of_nodes(types: list[str], grows: bool) -> None:
    assert names_kinds(types) is grows
